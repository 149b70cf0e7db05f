// Codes by hand: sliders, the path between two pictures, samples.
import { button, h, head, number, percent, Status } from "./dom";
import { call, get, post, type Info, type Latent, type WholeItem } from "./api";
import { anyItem, known, NO_PICTURES, send, Slot } from "./pictures";
import { address, go, type View } from "./view";

const FIRST = 12, STEPS = 9, SAMPLES = 12;

async function codeOf(name: string): Promise<number[]> {
  if (/^\d+$/.test(name)) return (await get<WholeItem>(`/api/items/${name}`)).code;
  return (await send<{ codes: number[][] }>("/api/encode", name)).codes[0] ?? [];
}

const between = (a: number[], b: number[], t: number) => a.map((value, i) => value + t * ((b[i] ?? 0) - value));

export function createLatent(info: Info): View {
  const status = new Status();
  const picture = h("img", { class: "decoded", alt: "The picture decoded from the sliders' code" });
  const sliders = h("div", { class: "sliders" });
  const strip = h("div", { class: "strip" });
  const samples = h("div", { class: "strip samples" });
  const element = h("div", { class: "view latent" }, head("Latent", status.element));
  if (!info.model.can_decode || !info.model.shows_pictures) {
    status.say(info.model.can_decode ? NO_PICTURES : "This model has no decoder, so codes cannot be turned into pictures.");
    return { element, update: () => undefined, take: name => go(address("match", { picture: name })) };
  }
  let code: number[] = [], units: Latent["units"] = [], inputs: [HTMLInputElement, HTMLElement, number][] = [];
  let ends: [string | null, string | null] = [null, null], codes: [number[], number[]] | null = null;
  let busy = false, stale = false;

  // One request at a time, and then one for the newest code.
  async function decode(): Promise<void> {
    stale = true;
    if (busy) return;
    busy = true;
    try {
      while (stale) {
        stale = false;
        const init = { method: "POST", headers: { "Content-Type": "application/json", Accept: "image/png" }, body: JSON.stringify({ codes: [code] }) };
        const blob = await (await call("/api/decode", {}, init)).blob();
        const old = picture.src;
        picture.src = URL.createObjectURL(blob);
        await picture.decode();
        if (old.startsWith("blob:")) URL.revokeObjectURL(old);
      }
      status.say("");
    } catch (error) {
      status.fail(error);
    } finally {
      busy = false;
    }
  }

  const set = (input: HTMLInputElement, shown: HTMLElement, value: number) => {
    input.value = String(value);
    shown.textContent = number(value);
  };

  function use(next: number[]): void {
    code = [...next];
    for (const [input, shown, index] of inputs) set(input, shown, code[index] ?? 0);
    void decode();
  }

  function rows(most: number): void {
    inputs = [];
    sliders.replaceChildren(...units.slice(0, most).map(unit => {
      const low = Math.min(unit.min, unit.mean - 3 * unit.std), high = Math.max(unit.max, unit.mean + 3 * unit.std);
      const input = h("input", { type: "range", min: low, max: high === low ? low + 1 : high, step: "any", value: unit.mean });
      const shown = h("output", {});
      inputs.push([input, shown, unit.index]);
      input.addEventListener("input", () => {
        code[unit.index] = input.valueAsNumber;
        shown.textContent = number(input.valueAsNumber);
        void decode();
      });
      // Steps by key are twentieths of the unit's spread, not the hundredths of "any".
      input.addEventListener("keydown", event => {
        const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[event.key];
        if (!way) return;
        event.preventDefault();
        input.value = String(input.valueAsNumber + way * (unit.std || 1) / 5);
        input.dispatchEvent(new Event("input"));
      });
      return h("label", {}, h("span", {}, `Unit ${unit.index}`, h("small", {}, percent(unit.share))), input, shown);
    }));
    for (const [input, shown, index] of inputs) set(input, shown, code[index] ?? 0);
    if (units.length > most) sliders.append(button(`Show all ${units.length} units`, () => rows(units.length)));
  }

  const tile = (source: string, text: string, of: number[]) => {
    const made = button("", () => use(of), { class: "tile", "aria-label": text, title: text });
    made.append(h("img", { src: source, alt: "" }));
    return made;
  };

  async function path(): Promise<void> {
    const [from, to] = ends;
    if (!known(from) || !known(to)) return;
    codes = [await codeOf(from), await codeOf(to)];
    const [a, b] = codes;
    const steps = Array.from({ length: STEPS }, (_, i) => between(a, b, i / (STEPS - 1)));
    const { pictures } = await post<{ pictures: string[] }>("/api/decode", { codes: steps });
    strip.replaceChildren(...pictures.map((source, i) => tile(source, `Step ${i + 1} of ${STEPS}`, steps[i] ?? [])));
    way.disabled = false;
  }

  async function sample(): Promise<void> {
    const seed = Math.floor(Math.random() * 2 ** 31);
    const made = await post<{ codes: number[][]; pictures: string[] }>("/api/sample", { n: SAMPLES, seed });
    samples.replaceChildren(...made.pictures.map((source, i) => tile(source, `Sample ${i + 1}`, made.codes[i] ?? [])));
  }

  const trying = (work: Promise<unknown>) => { work.catch((error: unknown) => status.fail(error)); };
  const put = (side: 0 | 1) => (name: string) => {
    const next: typeof ends = [...ends];
    next[side] = name;
    go(address("latent", { a: next[0], b: next[1] }));
  };
  const first = new Slot("first picture", info, status, put(0)), second = new Slot("second picture", info, status, put(1));
  const way = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, "aria-label": "From the first picture to the second", disabled: true });
  way.addEventListener("input", () => { if (codes) use(between(...codes, way.valueAsNumber)); });

  element.append(
    h("div", { class: "columns" },
      h("section", { class: "panel center", "aria-label": "Decoded" }, picture,
        h("div", { class: "buttons" }, button("Mean", () => use(mean)))),
      h("section", { class: "panel", "aria-label": "Units" },
        h("h2", {}, "Units of the code"), h("p", { class: "quiet" }, "Those that differ most from picture to picture come first, with their share of the variance."), sliders)),
    h("section", { class: "panel path" }, h("h2", {}, "Between two pictures"),
      h("div", { class: "ends" }, first.element, h("div", {}, strip, way), second.element)),
    h("section", { class: "panel" }, h("h2", {}, "Samples"),
      h("p", { class: "quiet" }, "Made from codes drawn at random. Click one to go on from it above."), samples,
      h("div", { class: "buttons" }, button("Draw others", () => trying(sample())))));

  let mean: number[] = [];
  async function open(): Promise<void> {
    const latent = await get<Latent>("/api/latent");
    units = latent.units;
    mean = latent.mean_code;
    code = [...mean];
    rows(FIRST);
    await Promise.all([decode(), sample()]);
  }
  let opened: Promise<void> | null = null;

  return {
    element,
    take: put(0),
    update(values) {
      if (!opened) {
        opened = open();
        opened.catch((error: unknown) => { opened = null; status.fail(error); });
      }
      const [a, b] = [values.get("a"), values.get("b")];
      if (info.library && (!known(a) || !known(b))) {
        // Two to begin with, so that there is something to see.
        trying(Promise.all([anyItem(info, 0), anyItem(info, 0.62)]).then(([from, to]) =>
          go(address("latent", { a: known(a) ? a : from, b: known(b) ? b : to }), false)));
        if (!known(a) && !known(b)) return;
      }
      const next: typeof ends = [known(a) ? a : null, known(b) ? b : null];
      if (next[0] === ends[0] && next[1] === ends[1]) return;
      const brought = next[0] !== ends[0] && ends[0] !== null;
      ends = next;
      first.show(ends[0]);
      second.show(ends[1]);
      way.value = "0";
      trying(path());
      const start = ends[0];
      if (brought && start) trying(codeOf(start).then(use));
    },
  };
}
