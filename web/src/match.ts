// Give a picture, see the nearest ones.
import { base, button, count, field, h, head, number, select, Status, switches } from "./dom";
import { get, type Info, type Items, type Matched } from "./api";
import { choose, known, preview, send, title } from "./pictures";
import { card, inProportion, itemCard, words } from "./gallery";
import { address, go, type View } from "./view";

const PAGE = 36;

export function createMatch(info: Info): View {
  const status = new Status();
  const query = h("section", { class: "panel query", "aria-label": "The picture" });
  const results = h("section", { "aria-label": "Pictures" });
  const element = h("div", { class: "view match" }, head("Match", status.element));
  if (!info.library) {
    element.append(h("p", {}, "A model alone is served here, without pictures to match. Serve a library: narrows serve LIBRARY."));
    return { element, update: () => undefined, take: picture => go(address("denoise", { picture })) };
  }
  const { columns, metrics, reranks } = info.library;
  let values = new URLSearchParams(), asked = new AbortController();
  let look = "both", last: Matched | null = null;

  const set = (name: string, value: string) => {
    if (value) values.set(name, value);
    else values.delete(name);
    go(address("match", Object.fromEntries(values)), false);
  };
  const k = h("input", { type: "number", min: 1, max: 100, value: 12, required: true });
  k.addEventListener("change", () => { if (k.checkValidity()) set("k", k.value); else k.reportValidity(); });
  const metric = select(metrics.map(name => [name, name] as const), value => set("metric", value));
  const rerank = select([["", "codes alone"], ...reranks.map(name => [name, `${name}, among the nearest codes`] as const)],
    value => set("rerank", value));
  // Filters take names that are no words in double quotes, of which one in a name is doubled.
  const names = Object.keys(columns).map(name => /^[A-Za-z_]\w*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
  const where = h("input", { type: "search", placeholder: names[0] ? `${names[0]} = …` : "id < 1000", autocomplete: "off", spellcheck: "false" });
  where.addEventListener("change", () => set("where", where.value.trim()));
  const settings = h("div", { class: "settings" },
    field("How many", k), field("Distance", metric), field("Order by", rerank),
    field("Only where", where, `Columns: ${["id", "path", ...names].join(", ")}; texts in single quotes`));
  const looks = switches("Show", [["both", "Both"], ["stored", "As stored"], ["restored", "Restored"]] as const, "both",
    value => { look = value; if (last) draw(last); });
  element.firstElementChild?.append(looks);
  element.append(h("div", { class: "columns" }, h("div", {}, query, h("details", { class: "panel" }, h("summary", {}, "Settings"), settings)),
    h("div", {}, results)));
  const wide = matchMedia("(min-width: 56rem)").matches;
  if (wide) element.querySelector("details")?.setAttribute("open", "");

  function invite(): void {
    query.replaceChildren(h("div", { class: "invite" },
      h("p", {}, h("b", {}, "Drop a picture anywhere"), ", paste one, or"),
      button("Choose a picture", () => choose(take), { class: "main" }),
      h("p", { class: "quiet" }, "or start from one of the library")));
  }

  async function browse(offset: number, signal: AbortSignal): Promise<void> {
    const list = offset ? results.querySelector("ol") : h("ol", { class: "gallery small" });
    const found = await get<Items>("/api/items", { where: values.get("where"), limit: PAGE, offset }, signal);
    list?.append(...found.items.map(item => itemCard(address("match", { ...Object.fromEntries(values), picture: item.id }), item)));
    if (!offset && list) results.replaceChildren(list);
    results.querySelector(".more")?.remove();
    const next = offset + found.items.length;
    if (next < found.total) {
      results.append(button("Show more", () => { browse(next, signal).catch((error: unknown) => status.fail(error)); }, { class: "more" }));
    }
    status.say(found.total ? `${count(found.total)} pictures in the library` : "No picture of the library passes the filter.");
  }

  function draw(answer: Matched): void {
    last = answer;
    const name = values.get("picture") ?? "";
    const { query: asked_, matches } = answer;
    const picture = asked_.picture && h("img", { src: preview(name), alt: title(name) });
    const restored = asked_.reconstruction && h("img", { src: asked_.reconstruction, alt: "Restored from its code" });
    if (picture) {
      // Browsers do not show all files that Narrows reads: then it is shown as the model sees it.
      picture.addEventListener("error", () => { picture.src = asked_.picture ?? ""; }, { once: true });
      if (restored) inProportion(picture, restored);
    }
    query.replaceChildren(
      h("div", { class: "pair" },
        h("figure", {}, picture, h("figcaption", {}, title(name))),
        restored && h("figure", {}, restored,
          h("figcaption", {}, asked_.error === null ? "Restored" : `Restored, error ${number(asked_.error)}`))),
      h("div", { class: "buttons" }, button("Choose another", () => choose(take)),
        h("a", { class: "button", href: address("match", { ...Object.fromEntries(values), picture: null }) }, "Library"),
        h("a", { class: "button", href: address("map", { picture: name }) }, "On the map")));
    results.replaceChildren(h("ol", { class: `gallery ${look}` }, ...matches.map(match => {
      const pictures = [];
      if (look !== "restored") pictures.push({ url: match.thumbnail, text: "As stored" });
      if (look !== "stored") pictures.push({ url: match.reconstruction, text: "Restored", like: match.thumbnail });
      const known = words(match);
      return card(address("match", { ...Object.fromEntries(values), picture: match.id }), pictures,
        number(match.distance), known ? `${known} · ${base(match.path)}` : base(match.path));
    })));
  }

  async function match(name: string, signal: AbortSignal): Promise<void> {
    const answer = await send<Matched>("/api/match", name, {
      k: values.get("k"), metric: values.get("metric"), where: values.get("where"), rerank: values.get("rerank"),
    }, signal);
    draw(answer);
    status.say(answer.matches.length
      ? `${answer.matches.length} nearest of ${count(info.library?.count ?? 0)}, in ${count(Math.max(1, Math.round(answer.seconds * 1000)))} ms`
      : "No picture of the library passes the filter.");
  }

  const take = (picture: string) => go(address("match", { ...Object.fromEntries(values), picture }));
  let before = "";
  return {
    element,
    take,
    update(to) {
      if (before && to.toString() === before) return;
      const name = to.get("picture");
      values = to;
      before = to.toString() || "start";
      k.value = to.get("k") ?? "12";
      metric.value = to.get("metric") ?? metrics[0] ?? "";
      rerank.value = to.get("rerank") ?? "";
      where.value = to.get("where") ?? "";
      asked.abort();
      asked = new AbortController();
      const there = known(name);
      looks.hidden = !there || !info.model.can_decode || !info.model.shows_pictures;
      if (!there) { last = null; invite(); }
      (there ? match(name, asked.signal) : browse(0, asked.signal)).catch((error: unknown) => {
        before = "";
        status.fail(error);
      });
    },
  };
}
