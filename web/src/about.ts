// What the point under the pointer is: shown when one stays on it for a moment.
import { base, h } from "./dom";
import type { Item } from "./api";
import { words } from "./gallery";

const DWELL = 90; // milliseconds

export class About {
  readonly element = h("div", { class: "about", hidden: true, "aria-live": "polite" });
  private timer = 0;

  constructor(private readonly frame: HTMLElement, private readonly ask: (id: number) => Promise<Item>, private readonly pictures: boolean) {}

  hide(): void {
    clearTimeout(this.timer);
    this.element.hidden = true;
  }

  show(id: number, [x, y]: [number, number]): void {
    this.hide();
    this.timer = window.setTimeout(() => {
      const text = h("b", {}, `Picture ${id}`);
      const timer = this.timer;
      const image = this.pictures && h("img", { src: `/api/items/${id}/thumbnail`, alt: "", width: 96, height: 96 });
      this.element.replaceChildren(...(image ? [image] : []), text);
      this.element.hidden = false;
      const { clientWidth: w, clientHeight: t } = this.frame, { offsetWidth, offsetHeight } = this.element;
      this.element.style.left = `${Math.max(4, x + 16 + offsetWidth > w ? x - 16 - offsetWidth : x + 16)}px`;
      this.element.style.top = `${Math.max(4, Math.min(y - offsetHeight / 2, t - offsetHeight - 4))}px`;
      // Its picture is there without its name.
      this.ask(id).then(item => {
        if (timer === this.timer) text.textContent = words(item) ? `${words(item)} · ${base(item.path)}` : base(item.path);
      }).catch(() => undefined);
    }, DWELL);
  }
}
