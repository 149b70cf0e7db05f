// Pictures of the library as cards that lead on.
import { base, h, number } from "./dom";
import type { Info, Item } from "./api";

/** Small pictures are shown with their pixels as they are. */
export const isSmall = (info: Info) => Math.max(...info.model.sample_shape.slice(0, 2)) <= 96;

export function words(item: Item): string {
  const values = Object.values(item.metadata).filter(value => value !== null && value !== undefined);
  return values.slice(0, 2).map(value => typeof value === "number" && !Number.isInteger(value) ? number(value) : String(value)).join(", ");
}

/** Show a restored picture, whose pixels may be squeezed, in the proportions of the picture that it restores. */
export function inProportion(picture: HTMLImageElement, restored: HTMLImageElement): void {
  const fit = () => {
    const ratio = picture.naturalWidth / picture.naturalHeight;
    if (!(ratio > 0)) return;
    restored.style.objectFit = "fill";
    // Of a square, percentages of either padding count its width.
    restored.style.padding = ratio < 1 ? `0 ${50 * (1 - ratio)}%` : `${50 * (1 - 1 / ratio)}% 0`;
  };
  if (picture.complete) fit();
  picture.addEventListener("load", fit);
}

/** A picture; a restored one is shown in the proportions of the one that it is `like`. */
export interface Shown { url: string | null; text: string; like?: string | null }

/** A card: pictures, a line in bold and one below it; the whole leads to an address. */
export function card(href: string, pictures: Shown[], bold: string, below: string): HTMLLIElement {
  const images = pictures.map(({ url, text, like }) => {
    const image = url ? h("img", { src: url, alt: text, loading: "lazy", decoding: "async" }) : null;
    if (image && like) inProportion(h("img", { src: like }), image);
    return image;
  });
  return h("li", {}, h("a", { class: "card", href },
    h("span", { class: "pictures" }, ...images),
    h("b", {}, bold), h("span", { class: "quiet" }, below)));
}

export function itemCard(href: string, item: Item): HTMLLIElement {
  return card(href, [{ url: item.thumbnail, text: "" }], words(item) || base(item.path), words(item) ? base(item.path) : "");
}
