// The report of the model, once the server has computed it.
import { h, head, Status } from "./dom";
import { get, type Info } from "./api";
import { choosingGoesToMatch, type View } from "./view";

export function createReport(info: Info): View {
  const status = new Status();
  const body = h("div", { class: "report" });
  const element = h("div", { class: "view" }, head("Report", status.element), body);
  let timer = 0, shown = "";

  async function look(): Promise<void> {
    try {
      const answer = await get<{ state: "computing" | "ready"; url?: string; version?: string; current?: boolean }>("/api/report");
      if (answer.state === "computing") {
        status.say("The report is being computed. It stays here once it is there; the other views work meanwhile.");
        timer = window.setTimeout(() => void look(), 1000);
        return;
      }
      status.say(answer.current ? "" : "The library has changed since; a newer report is being made.");
      if (!answer.current) timer = window.setTimeout(() => void look(), 1000);
      if (answer.version === shown) return;
      shown = answer.version ?? "";
      body.replaceChildren(
        h("p", {}, h("a", { href: answer.url, target: "_blank", rel: "noopener" }, "Open the report by itself")),
        h("iframe", { src: answer.url, title: `Report of ${info.model.model}`, sandbox: "" }));
    } catch (error) {
      status.fail(error);
    }
  }

  return {
    element,
    update: () => { clearTimeout(timer); void look(); },
    take: choosingGoesToMatch,
    leave: () => clearTimeout(timer),
  };
}
