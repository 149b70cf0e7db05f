// Pictures of the library as cards that lead on.
import { base, h, number } from "./dom";
import type { Info, Item } from "./api";

/** Small pictures are shown with their pixels as they are. */
export const isSmall = (info: Info) => Math.max(...info.model.sample_shape.slice(0, 2)) <= 96;

export function words(item: Item): string {
  const values = Object.values(item.metadata).filter(value => value !== null && value !== undefined);
  return values.slice(0, 2).map(value => typeof value === "number" && !Number.isInteger(value) ? number(value) : String(value)).join(", ");
}

export interface Shown { url: string | null; text: string }

/** A card: pictures, a line in bold and one below it; the whole leads to an address. */
export function card(href: string, pictures: Shown[], bold: string, below: string): HTMLLIElement {
  return h("li", {}, h("a", { class: "card", href },
    h("span", { class: "pictures" }, ...pictures.map(({ url, text }) =>
      url ? h("img", { src: url, alt: text, loading: "lazy", decoding: "async" }) : null)),
    h("b", {}, bold), h("span", { class: "quiet" }, below)));
}

export function itemCard(href: string, item: Item): HTMLLIElement {
  return card(href, [{ url: item.thumbnail, text: "" }], words(item) || base(item.path), words(item) ? base(item.path) : "");
}
