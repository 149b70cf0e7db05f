// Curves of training, followed while they grow.
import uPlot from "uplot";
import { count, field, h, head, number, select, Status } from "./dom";
import { call, type Info, type Run } from "./api";
import { choosingGoesToMatch, type View } from "./view";

const HELD_OUT = "validation_";
const COLOURS = ["--blue", "--orange"];

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Curves that belong into one plot: a term and the same of held-out rows. */
function groups(columns: string[]): string[][] {
  const terms = columns.filter(name => !["epoch", "seconds"].includes(name) && !name.startsWith(HELD_OUT));
  return terms.map(name => columns.includes(HELD_OUT + name) ? [name, HELD_OUT + name] : [name]);
}

const words = (name: string) => name.startsWith(HELD_OUT) ? "held out" : name.replace(/_/g, " ");

export function createTraining(_: Info): View {
  const status = new Status();
  const body = h("div", {}), facts = h("dl", { class: "facts" }), plots = h("div", { class: "plots" });
  const element = h("div", { class: "view training" }, head("Training", status.element), body);
  let runs: Run[] = [], chosen = "", tag = "", timer = 0, drawn: { plot: uPlot; names: string[] }[] = [], shape = "";
  const menu = select([], value => { chosen = value; draw(); });
  const choice = field("Run", menu);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const tellLast = (one: uPlot) => one.setLegend({ idx: (one.data[0]?.length ?? 0) - 1 });

  function plot(names: string[], box: HTMLElement, epochs: number): uPlot {
    const axis: uPlot.Axis = { stroke: css("--quiet"), font: "12px system-ui, sans-serif", grid: { stroke: css("--line"), width: 1 }, ticks: { show: false } };
    const made = new uPlot({
      width: Math.max(200, box.clientWidth - 32), height: 240,
      scales: { x: { time: false, range: (_u, low, high) => low === high ? [low - 0.5, high + 0.5] : [low, high] } },
      cursor: { points: { size: 7 }, drag: { x: false, y: false } },
      legend: { live: true },
      axes: [
        { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] },
        { ...axis, size: 64, values: (_u, values) => values.map(number) },
      ],
      series: [{ label: "Epoch", value: (_u: uPlot, value: number | null) => value === null ? "" : String(value) }, ...names.map((name, i) => ({
        label: i ? "held out" : names.length > 1 ? "training" : words(name),
        stroke: css(COLOURS[i] ?? "--blue"), width: 2, points: { show: epochs < 2 },
        value: (_u: uPlot, value: number | null) => value === null ? "–" : number(value),
      }))],
    }, [[], ...names.map(() => [])], box);
    made.root.setAttribute("role", "img");
    // Where nobody points, the legend tells of the last epoch.
    made.over.addEventListener("mouseleave", () => setTimeout(() => tellLast(made)));
    return made;
  }

  function draw(): void {
    const run = runs.find(one => one.name === chosen) ?? runs[0];
    if (!run) {
      body.replaceChildren(h("p", {}, "No run to show. Train with a log, and serve it: "), h("pre", {},
        "narrows train pictures model --log run.csv\nnarrows serve library --training run.csv"));
      return;
    }
    const at = (name: string) => run.rows.map(row => row[run.columns.indexOf(name)] ?? null);
    const epochs = at("epoch") as number[], last = (name: string) => at(name).at(-1);
    const now = `${run.name}\n${run.columns.join()}\n${epochs.length < 2}`;
    if (now !== shape) {
      shape = now;
      for (const { plot: old } of drawn) old.destroy();
      plots.replaceChildren();
      body.replaceChildren(h("div", { class: "above" }, choice, facts), plots);
      const boxes = groups(run.columns).map(names => ({ names, box: h("section", { class: "panel" }, h("h2", {}, words(names[0] ?? ""))) }));
      plots.append(...boxes.map(({ box }) => box));
      drawn = boxes.map(({ names, box }) => ({ names, plot: plot(names, box, epochs.length) }));
    }
    choice.hidden = runs.length < 2;
    menu.replaceChildren(...runs.map(({ name, live }) => h("option", { value: name, selected: name === run.name }, live ? `${name} (live)` : name)));
    for (const { plot: one, names } of drawn) {
      one.setData([epochs, ...names.map(at)] as uPlot.AlignedData);
      setTimeout(() => tellLast(one)); // uPlot takes the data in first
      one.root.setAttribute("aria-label", `${words(names[0] ?? "")} by epoch; at the last one ${names.map(name => number(last(name) ?? NaN)).join(", held out ")}`);
    }
    const fact = (name: string, value: string) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    const loss = last("loss"), held = last(`${HELD_OUT}loss`), seconds = last("seconds");
    facts.replaceChildren(
      fact("State", run.live ? "live" : run.ended?.replace(/_/g, " ") ?? "ended"),
      fact("Epoch", count(epochs.at(-1) ?? 0)),
      ...(typeof loss === "number" ? [fact("Loss", number(loss))] : []),
      ...(typeof held === "number" ? [fact("Held out", number(held))] : []),
      ...(typeof seconds === "number" ? [fact("Time", `${number(seconds)} s`)] : []));
    facts.classList.toggle("live", run.live);
  }

  async function look(): Promise<void> {
    try {
      const answer = await call("/api/training", {}, { cache: "no-cache" });
      const now = answer.headers.get("ETag") ?? String(Math.random());
      if (now !== tag) {
        runs = (await answer.json() as { runs: Run[] }).runs;
        draw();
        tag = now;
      }
      status.say("");
    } catch (error) {
      status.fail(error);
    }
    timer = window.setTimeout(() => void look(), 1000);
  }

  const redraw = () => { shape = ""; draw(); };
  const resize = () => { for (const { plot: one } of drawn) one.setSize({ width: Math.max(200, (one.root.parentElement?.clientWidth ?? 0) - 32), height: 240 }); };
  dark.addEventListener("change", redraw);
  addEventListener("resize", resize);
  return {
    element,
    update: () => { clearTimeout(timer); void look(); },
    take: choosingGoesToMatch,
    leave: () => clearTimeout(timer),
  };
}
