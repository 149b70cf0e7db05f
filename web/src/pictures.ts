// Pictures that the user brought, and pictures of the library, under one name each for addresses.
import { button, h, type Status } from "./dom";
import { call, get, type Info, type Items } from "./api";

export const NO_PICTURES = "The model's rows are no pictures, so there is nothing to show here.";

/** Bring a file where it is wanted; what it is called in addresses is `file-N` as long as the page lives. */
const brought: { file: File; url: string }[] = [];

export function bring(file: File): string {
  brought.push({ file, url: URL.createObjectURL(file) });
  return `file-${brought.length - 1}`;
}

const own = (name: string) => brought[Number(name.slice("file-".length))];

/** Whether a name stands for a picture that is still there: files are gone when the page is loaded again. */
export const known = (name: string | null): name is string =>
  name !== null && (/^\d+$/.test(name) || (name.startsWith("file-") && own(name) !== undefined));

/** The picture upright and in its own proportions, which it does not have where the model sees it. */
export const preview = (name: string) => own(name)?.url ?? `/api/items/${name}/thumbnail`;

export const title = (name: string) => own(name)?.file.name ?? `Picture ${name}`;

/** Post a picture as it is: the server must see the pixels that the Python API would. */
export async function ask(
  path: string, name: string, query: Record<string, string | number | null> = {}, signal?: AbortSignal,
): Promise<Response> {
  const file = own(name)?.file, init: RequestInit = { method: "POST" };
  if (signal) init.signal = signal;
  if (file) {
    const form = new FormData();
    form.append("file", file);
    init.body = form;
  }
  return call(path, file ? query : { id: name, ...query }, init);
}

export async function send<T>(...given: Parameters<typeof ask>): Promise<T> {
  return (await ask(...given)).json() as Promise<T>;
}

/** Let the user pick a file. */
export function choose(use: (name: string) => void): void {
  const input = h("input", { type: "file", accept: "image/*" });
  input.addEventListener("change", () => { if (input.files?.[0]) use(bring(input.files[0])); });
  input.click();
}

export async function anyItem(info: Info, where: number = Math.random()): Promise<string | null> {
  const total = info.library?.count ?? 0;
  const found = total
    ? await get<Items>("/api/items", { limit: 1, offset: Math.floor(where * total) }) : null;
  return found?.items[0] ? String(found.items[0].id) : null;
}

const slots = new WeakMap<Element, (name: string) => void>();

/** What a drop on an element means, if that element wants pictures for itself. */
export function slotOf(target: EventTarget | null): ((name: string) => void) | undefined {
  const element = target instanceof Element ? target.closest(".slot") : null;
  return element ? slots.get(element) : undefined;
}

/** A place for one picture: choose one, drop one on it, or take any of the library. */
export class Slot {
  readonly image = h("img", { alt: "" });
  readonly element: HTMLElement;
  private readonly caption = h("figcaption", {});

  constructor(private readonly name: string, info: Info, status: Status, use: (name: string) => void) {
    this.element = h("figure", { class: "slot" }, this.image, this.caption, h("div", { class: "buttons" },
      button("Choose…", () => choose(use), { "aria-label": `Choose ${name}` }),
      info.library && button("Any other", () => {
        anyItem(info).then(found => { if (found) use(found); }).catch((error: unknown) => status.fail(error));
      }, { "aria-label": `Any other ${name}` })));
    this.show(null);
    slots.set(this.element, use);
  }

  show(picture: string | null): void {
    this.image.hidden = picture === null;
    if (picture !== null) this.image.src = preview(picture);
    this.image.alt = picture === null ? "" : `${this.name}: ${title(picture)}`;
    this.caption.textContent = picture === null ? "Drop a picture here" : title(picture);
  }
}
