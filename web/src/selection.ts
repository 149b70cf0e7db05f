// The points one has chosen: a gallery, and a table to take away.
import { button, count, h, type Status } from "./dom";
import { get, type Items } from "./api";
import { card } from "./gallery";
import { address } from "./view";

export interface Chosen { id: number; x: number; y: number; text: string }

const FIRST = 60, AT_ONCE = 500;

// As narrows/texts.py (guarded) writes what a spreadsheet would compute.
const guarded = (text: string) =>
  /^'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(text)
    && !/^'*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? `'${text}` : text;

const cell = (value: unknown) => {
  const text = guarded(value === null || value === undefined ? "" : String(value));
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
};

export class Selection {
  private readonly heading = h("h2", { "aria-live": "polite" });
  private readonly body = h("div", {});
  readonly element = h("section", { class: "panel selection", "aria-label": "Selection" }, this.heading, this.body);
  private found: number[] = [];

  constructor(
    private readonly columns: Record<string, string>,
    private readonly of: (i: number) => Chosen,
    private readonly clear: () => void,
    private readonly status: Status,
    private readonly pictures: boolean,
  ) {
    this.show([]);
  }

  show(found: number[], most = FIRST): void {
    this.found = found;
    this.heading.textContent = found.length ? `${count(found.length)} selected` : "Selection";
    if (!found.length) {
      this.body.replaceChildren(h("p", { class: "quiet" },
        "Click a point, draw around some with the lasso, or select what is in view."));
      return;
    }
    this.body.replaceChildren(
      h("div", { class: "buttons" }, button("Save as CSV", () => {
        this.save().catch((error: unknown) => this.status.fail(error));
      }), button("Clear", this.clear)),
      h("ol", { class: "gallery small" }, ...found.slice(0, most).map(i => {
        const { id, text } = this.of(i);
        return card(address("match", { picture: id }), [{ url: this.pictures ? `/api/items/${id}/thumbnail` : null, text: "" }], text || `Picture ${id}`, "");
      })));
    if (found.length > most) this.body.append(button("Show more", () => this.show(found, most + 4 * FIRST), { class: "more" }));
  }

  private async save(): Promise<void> {
    const names = Object.keys(this.columns), lines = [["id", "path", ...names, "x", "y"].map(cell).join()];
    const chosen = this.found.map(this.of);
    for (let start = 0; start < chosen.length; start += AT_ONCE) {
      const some = chosen.slice(start, start + AT_ONCE);
      const { items } = await get<Items>("/api/items", { ids: some.map(({ id }) => id).join() });
      const known = new Map(items.map(item => [item.id, item]));
      for (const { id, x, y } of some) {
        const item = known.get(id);
        lines.push([id, item?.path, ...names.map(name => item?.metadata[name]), x, y].map(cell).join());
      }
    }
    const url = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    h("a", { href: url, download: "selection.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }
}
