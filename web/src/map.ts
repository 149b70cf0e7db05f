// All pictures as points, alike ones together.
import { button, count, field, h, head, number, select, Status, switches } from "./dom";
import { call, get, type Info, type Legend } from "./api";
import { ask, known, preview, title } from "./pictures";
import { classColour, isDark, palette, ramp } from "./colours";
import { Points } from "./points";
import { Selection } from "./selection";
import { watch } from "./gestures";
import { About } from "./about";
import { choosingGoesToMatch, address, go, type View } from "./view";

const NONE = 255;

/** Which library an answer about the map is of. */
const versionOf = (answer: Response) => answer.headers.get("X-Map-Version") ?? "";

export function createMap(info: Info): View {
  const status = new Status();
  const element = h("div", { class: "view map" }, head("Map", status.element));
  if (!info.library) {
    status.say("A model alone is served here, without pictures to lay out. Serve a library: narrows serve LIBRARY.");
    return { element, update: () => undefined, take: choosingGoesToMatch };
  }
  const points = new Points();
  const over = h("canvas", { class: "over" }), pen = over.getContext("2d") as CanvasRenderingContext2D;
  const frame = h("div", {
    class: "frame", tabindex: 0, role: "application", "aria-roledescription": "map", "aria-label": `Map of ${count(info.library.count)} pictures`, "aria-describedby": "map-help",
  }, points.canvas, over);
  const about = new About(frame, id => get(`/api/items/${id}`), info.model.shows_pictures);
  const key = h("div", { class: "key" });
  let ids = new Uint32Array(), values = new Uint8Array(), legend: Legend | null = null;
  let only = -1, at = -1, dropped: { x: number; y: number; name: string } | null = null, mark: HTMLImageElement | null = null;
  let outline: [number, number][] = [], tool: "move" | "lasso" = "move", chosen = new Set<number>();
  let color = "", version = "", timer = 0, waiting = false, stale = false;

  const selection = new Selection(info.library.columns, i => {
    const named = legend?.kind === "categories" ? legend.labels?.[values[i] ?? NONE] : undefined;
    return { id: ids[i] as number, x: points.x[i] as number, y: points.y[i] as number, text: named ?? "" };
  }, () => pick([]), status, info.model.shows_pictures);

  /** Draw in the next frame: what lies over the points, and those too where they have changed. */
  function again(all = true): void {
    stale ||= all;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      if (stale) points.draw();
      drawOver();
      waiting = stale = false;
    });
  }

  function ring(x: number, y: number, radius: number): void {
    for (const [colour, width] of [[isDark() ? "#000" : "#fff", 5], [isDark() ? "#fff" : "#000", 2]] as const) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 7);
      pen.stroke();
    }
  }

  function drawOver(): void {
    const ratio = devicePixelRatio || 1;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, points.width, points.height);
    if (dropped) {
      const [x, y] = points.screen(dropped.x, dropped.y);
      if (mark?.complete && mark.naturalWidth) {
        const grow = 44 / Math.max(mark.naturalWidth, mark.naturalHeight), [w, t] = [mark.naturalWidth * grow, mark.naturalHeight * grow];
        pen.imageSmoothingEnabled = grow < 1;
        pen.drawImage(mark, x + 12, y - t - 8, w, t);
        pen.strokeStyle = isDark() ? "#fff" : "#000";
        pen.lineWidth = 1.5;
        pen.strokeRect(x + 12, y - t - 8, w, t);
      }
      ring(x, y, 8);
      ring(x, y, 2);
    }
    if (at >= 0) ring(...points.screen(points.x[at] as number, points.y[at] as number), 7);
    if (outline.length > 1) {
      pen.beginPath();
      for (const [x, y] of outline) pen.lineTo(x, y);
      pen.closePath();
      pen.fillStyle = isDark() ? "#ffffff22" : "#00000018";
      pen.fill();
      pen.strokeStyle = isDark() ? "#fff" : "#000";
      pen.lineWidth = 1.5;
      pen.stroke();
    }
  }

  function paint(): void {
    const colours = palette(legend?.kind ?? "none"), bytes = new Uint8Array(4 * values.length), dense = values.length > 20_000;
    for (let i = 0; i < values.length; i++) {
      const value = values[i] as number, front = (only < 0 || value === only) && (!chosen.size || chosen.has(i));
      const [r, g, b] = colours[value] as [number, number, number];
      bytes[4 * i] = r;
      bytes[4 * i + 1] = g;
      bytes[4 * i + 2] = b;
      bytes[4 * i + 3] = front ? (dense ? 190 : 225) : 22;
    }
    points.counts = i => only < 0 || values[i] === only;
    points.paint(bytes);
    again();
  }

  function drawKey(): void {
    key.replaceChildren();
    if (legend?.kind === "categories" && legend.labels) {
      const made = legend.labels.map((text, value) => {
        const dot = h("i", {});
        dot.style.background = classColour(value);
        const one = button("", () => {
          only = only === value ? -1 : value;
          made.forEach((other, i) => other.setAttribute("aria-pressed", String(i === only)));
          hover(-1);
          paint();
        }, { "aria-pressed": "false" });
        one.append(dot, text);
        return one;
      });
      key.append(...made);
    } else if (legend?.kind === "range" && legend.min !== null && legend.max !== null) {
      const bar = h("div", { class: "bar" });
      bar.style.background = ramp();
      key.append(bar, h("div", { class: "bar-ends" }, h("span", {}, number(legend.min)), h("span", {}, number(legend.max))));
    }
  }

  function hover(i: number): void {
    if (i === at) return;
    at = i;
    frame.dataset["at"] = i < 0 ? "" : String(ids[i]);
    if (i < 0) about.hide();
    else about.show(ids[i] as number, points.screen(points.x[i] as number, points.y[i] as number));
    again(false);
  }

  function pick(found: number[]): void {
    chosen = new Set(found);
    selection.show(found);
    paint();
  }

  async function load(): Promise<void> {
    clearTimeout(timer);
    const answer = await call("/api/map", { color: color || "none" });
    if (answer.status === 202) { // errors take a while to measure
      status.say("The errors are being measured.");
      timer = window.setTimeout(() => trying(load()), 1000);
      return;
    }
    const [bytes, got, told] = await Promise.all([
      answer.arrayBuffer(), call("/api/map/ids"), call("/api/map/legend", { color: color || "none" })]);
    const found = versionOf(answer);
    if (versionOf(got) !== found || versionOf(told) !== found) { // the library was changed in between
      timer = window.setTimeout(() => trying(load()), 200);
      return;
    }
    const [which, key_] = [await got.arrayBuffer(), (await told.json()) as Legend];
    const n = bytes.byteLength / 9;
    const moved = version !== "" && version !== found;
    version = found;
    points.place(new Float32Array(bytes, 0, n), new Float32Array(bytes, 4 * n, n));
    values = new Uint8Array(bytes, 8 * n, n);
    ids = new Uint32Array(which);
    legend = key_;
    only = -1;
    if (moved) pick([]);
    drawKey();
    paint();
    const state = answer.headers.get("X-Map-State");
    frame.dataset["state"] = state ?? "";
    status.say(state === "preview" ? `${count(n)} pictures, laid out roughly for now; a better map is being made.` : `${count(n)} pictures`);
    if (state === "preview") timer = window.setTimeout(() => trying(wait()), 1000);
  }

  /** Look whether the better map is there. */
  async function wait(): Promise<void> {
    const told = await call("/api/map/legend", { color: color || "none" }), { state } = (await told.json()) as Legend;
    if (state === "final" || versionOf(told) !== version) {
      await load();
      if (dropped) await locate(dropped.name);
    } else timer = window.setTimeout(() => trying(wait()), 1000);
  }

  async function locate(name: string): Promise<void> {
    const answer = await ask("/api/map", name), { x, y } = (await answer.json()) as { x: number; y: number };
    if (version && versionOf(answer) !== version) await load(); // it is the place on a newer map
    dropped = { x, y, name };
    mark = known(name) && (info.model.shows_pictures || name.startsWith("file-")) ? h("img", { src: preview(name), alt: "" }) : null;
    mark?.addEventListener("load", () => again(false));
    shown.replaceChildren(`Ringed: ${title(name)} `, h("a", { href: address("match", { picture: name }) }, "Match it"));
    again();
  }

  const trying = (work: Promise<unknown>) => { work.catch((error: unknown) => status.fail(error)); };
  const shown = h("p", { class: "dropped" });
  const colours = select([["", "nothing"], ["error", "error of restoring"],
    ...Object.keys(info.library.columns).map(name => [name, name] as const)],
  value => go(address("map", { ...Object.fromEntries(new URLSearchParams(location.hash.split("?")[1])), color: value }), false));
  const zoom = (by: number) => () => { hover(-1); points.zoom(by); again(); };
  const whole = () => { hover(-1); points.look = { x: 0, y: 0, zoom: 1 }; again(); };

  watch(frame, {
    lassoing: () => tool === "lasso",
    point: (x, y) => hover(points.nearest(x, y)),
    leave: () => hover(-1),
    centre: () => hover(points.nearest(points.width / 2, points.height / 2, Math.max(points.width, points.height) / 4)),
    drag: (x, y) => { hover(-1); points.move(-x / points.step, y / points.step); again(); },
    zoom: (by, x, y) => { hover(-1); points.zoom(by, x, y); again(); },
    whole,
    press: () => { if (at >= 0) pick([at]); else if (chosen.size) pick([]); },
    outline: (path, done) => {
      outline = done ? [] : path;
      if (done) pick(points.inside(path));
      again(false);
    },
  });
  frame.append(about.element);
  const zooms = h("div", { class: "zooms" }, button("+", zoom(1.6), { "aria-label": "Closer" }),
    button("−", zoom(1 / 1.6), { "aria-label": "Farther" }), button("All", whole, { "aria-label": "Show all" }));
  const tools = h("div", { class: "tools" },
    switches("What dragging does", [["move", "Move"], ["lasso", "Lasso"]] as const, "move", value => { tool = value; frame.classList.toggle("lasso", value === "lasso"); }),
    button("Select what is in view", () => pick(points.inView())),
    field("Colour by", colours));
  element.append(tools, h("div", { class: "columns" },
    h("div", {}, h("div", { class: "framed" }, frame, zooms), h("p", { class: "quiet", id: "map-help" },
      "Drag to move, scroll or pinch to look closer, click a point to select it. Keys: arrows, + and −, 0 for all, Enter selects the ringed point."), shown),
    h("div", {}, key, selection.element)));

  new ResizeObserver(() => {
    const { clientWidth, clientHeight } = frame;
    if (!clientWidth) return;
    points.resize(clientWidth, clientHeight);
    over.width = points.canvas.width;
    over.height = points.canvas.height;
    again();
  }).observe(frame);
  points.onRestored(paint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { drawKey(); paint(); });

  const columns = Object.keys(info.library.columns), usual = columns.includes("label") ? "label" : "";
  let loaded = false;
  return {
    element,
    take: picture => go(address("map", { color: color === usual ? null : color || "none", picture })),
    update(to) {
      const asked = to.get("color") ?? usual, next = asked === "none" ? "" : asked, name = to.get("picture");
      if (!loaded || next !== color) {
        color = next;
        colours.value = color;
        loaded = true;
        trying(load().catch((error: unknown) => { loaded = false; throw error; }));
      } else if (frame.dataset["state"] === "preview") trying(wait());
      if (!known(name)) {
        dropped = null;
        shown.replaceChildren();
        again();
      } else if (dropped?.name !== name) trying(locate(name));
    },
    leave: () => { clearTimeout(timer); about.hide(); },
  };
}
