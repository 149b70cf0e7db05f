// The page: an address names the view, a picture goes to the view one looks at.
import { count, h, Status } from "./dom";
import { get, type Info } from "./api";
import { bring, choose, slotOf } from "./pictures";
import { isSmall } from "./gallery";
import type { View } from "./view";
import { createMatch } from "./match";
import { createMap } from "./map";
import { createLatent } from "./latent";
import { createDenoise } from "./denoise";
import { createTraining } from "./training";
import { createReport } from "./report";

const VIEWS: Record<string, [string, (info: Info) => View]> = {
  match: ["Match", createMatch],
  map: ["Map", createMap],
  latent: ["Latent", createLatent],
  denoise: ["Denoise", createDenoise],
  training: ["Training", createTraining],
  report: ["Report", createReport],
};

const main = document.getElementById("main") as HTMLElement;
const dropping = document.getElementById("dropping") as HTMLElement;
const made = new Map<string, View>();
let shown: View | null = null;

function start(info: Info): void {
  const links = Object.entries(VIEWS).map(([name, [text]]) => h("a", { href: `#/${name}`, "data-view": name }, text));
  document.querySelector("nav")?.append(...links);
  document.body.classList.toggle("pixels", isSmall(info));
  const about = document.querySelector("#name span");
  if (about) {
    about.textContent = info.library
      ? `${info.library.name}, ${count(info.library.count)} pictures` : info.model.model;
  }

  function route(): void {
    const [path = "", search = ""] = location.hash.replace(/^#\/?/, "").split("?");
    if (path === "main") return; // the link that skips the header
    const name = path in VIEWS ? path : "match";
    const [text, create] = VIEWS[name] as [string, (info: Info) => View];
    const view = made.get(name) ?? create(info);
    made.set(name, view);
    if (view !== shown) {
      shown?.leave?.();
      const moved = shown !== null;
      shown = view;
      main.replaceChildren(view.element);
      document.title = `${text} · Narrows`;
      for (const link of links) {
        if (link.dataset["view"] === name) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      if (moved) main.focus({ preventScroll: true });
    }
    // A link in the header leads back to what one saw there.
    const link = links.find(one => one.dataset["view"] === name);
    if (link) link.href = `#/${name}${search && `?${search}`}`;
    view.update(new URLSearchParams(search));
  }

  const take = (file: File | undefined, target: EventTarget | null) => {
    if (!file) return;
    const use = slotOf(target) ?? ((name: string) => shown?.take(name));
    use(bring(file));
  };
  document.getElementById("choose")?.addEventListener("click", () => choose(name => shown?.take(name)));
  addEventListener("paste", event => take(event.clipboardData?.files[0], event.target));
  addEventListener("drop", event => {
    event.preventDefault();
    dropping.hidden = true;
    take(event.dataTransfer?.files[0], event.target);
  });
  addEventListener("dragover", event => {
    event.preventDefault();
    dropping.hidden = !event.dataTransfer?.types.includes("Files");
  });
  addEventListener("dragleave", event => { if (event.relatedTarget === null) dropping.hidden = true; });
  addEventListener("hashchange", route);
  route();
}

const status = new Status();
main.append(status.element);
get<Info>("/api/info").then(start).catch((error: unknown) => status.fail(error));
