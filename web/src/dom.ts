// Elements made in one call, and the few that every view uses.

type Child = Node | string | null | false | undefined;
type Values = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>;

/** Make an element; `on…` values are listeners. Values are set in order: min and max before value. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K, values: Values = {}, ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value as EventListener);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter(child => child !== null && child !== undefined && child !== false));
  return made;
}

export function button(text: string, onclick: () => void, values: Values = {}): HTMLButtonElement {
  return h("button", { type: "button", onclick, ...values }, text);
}

/** A view's name, and beside it what is going on there. */
export const head = (name: string, ...more: Child[]) => h("div", { class: "head" }, h("h1", {}, name), ...more);

/** A field with its name above it. */
export function field(name: string, control: HTMLElement, help?: string): HTMLLabelElement {
  return h("label", { class: "field" }, h("span", {}, name), control, help ? h("small", {}, help) : null);
}

export function select(
  choices: readonly (readonly [string, string])[], onchange: (value: string) => void,
): HTMLSelectElement {
  const made = h("select", {}, ...choices.map(([value, text]) => h("option", { value }, text)));
  made.addEventListener("change", () => onchange(made.value));
  return made;
}

/** Buttons of which one is pressed. */
export function switches<T extends string>(
  name: string, choices: readonly (readonly [T, string])[], chosen: T, onchange: (value: T) => void,
): HTMLElement {
  const made = choices.map(([value, text]) => button(text, () => {
    for (const other of made) other.setAttribute("aria-pressed", String(other === own(value)));
    onchange(value);
  }, { "aria-pressed": value === chosen ? "true" : "false", "data-value": value }));
  const own = (value: T) => made.find(one => one.dataset["value"] === value);
  return h("div", { class: "switches", role: "group", "aria-label": name }, ...made);
}

/** What is going on, said aloud by screen readers. */
export class Status {
  readonly element = h("p", { class: "status", role: "status" });

  say(text: string): void {
    this.element.classList.remove("error");
    this.element.textContent = text;
  }

  /** Show an error, unless it only says that something newer took over. */
  fail(error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") return;
    this.element.classList.add("error");
    this.element.textContent = error instanceof Error ? error.message : String(error);
  }
}

export function number(value: number): string {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2)
    : value.toLocaleString("en", { maximumSignificantDigits: 3 });
}

export const count = (value: number) => value.toLocaleString("en");

export const percent = (share: number) => `${number(Math.round(share * 1000) / 10)} %`;

/** A file's name without its folders. */
export const base = (path: string) => path.split(/[/\\]/).pop() ?? path;
