// Damage a picture, and see it restored.
import { button, field, h, head, number, percent, Status, switches } from "./dom";
import type { Denoised, Info } from "./api";
import { anyItem, known, NO_PICTURES, send, Slot } from "./pictures";
import { address, choosingGoesToMatch, go, type View } from "./view";

const KINDS = [["gaussian", "Noise"], ["masking", "Missing"], ["salt_and_pepper", "Salt and pepper"], ["none", "None added"]] as const;

// A model restores pictures at the size that it learned from, which may be another than theirs.
function given(answer: Denoised): string {
  const [own, at] = [answer.given_size, answer.size].map(size => size?.join(" × "));
  return own && at && own !== at ? `Given: ${own} pixels, brought to ${at} to be restored` : "Given";
}

export function createDenoise(info: Info): View {
  const status = new Status();
  if (!info.model.shows_pictures) {
    status.say(NO_PICTURES);
    return { element: h("div", { class: "view denoise" }, head("Denoise", status.element)), update: () => undefined, take: choosingGoesToMatch };
  }
  let values = new URLSearchParams(), busy = false, stale = false, seed = 0;
  const take = (picture: string) => go(address("denoise", { ...Object.fromEntries(values), picture }));
  const set = (name: string, value: string) => {
    values.set(name, value);
    go(address("denoise", Object.fromEntries(values)), false);
  };
  const slot = new Slot("the picture", info, status, take);
  const kinds = switches("Damage", KINDS, "gaussian", value => set("corruption", value));
  const amount = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0.3 });
  const shown = h("output", {});
  amount.addEventListener("input", () => { shown.textContent = percent(amount.valueAsNumber); set("amount", amount.value); });
  const how = field("How much", h("span", { class: "with-output" }, amount, shown));
  const again = button("Other damage", () => { seed += 1; void restore(); });

  const before = h("img", { alt: "Before: damaged", class: "before" }), after = h("img", { alt: "After: restored" });
  const edge = h("input", { type: "range", min: 0, max: 100, step: 1, value: 50, "aria-label": "Where before ends and after begins" });
  const wipe = h("div", { class: "wipe" }, after, before, h("span", { class: "edge" }), h("b", { class: "left" }, "Before"), h("b", { class: "right" }, "After"), edge);
  edge.addEventListener("input", () => wipe.style.setProperty("--edge", `${edge.value}%`));
  const row = h("div", { class: "row" });
  wipe.hidden = true;

  // Like the latent view's decoding: one request at a time, then one for the newest settings.
  async function restore(): Promise<void> {
    stale = true;
    if (busy) return;
    busy = true;
    try {
      while (stale) {
        stale = false;
        const name = values.get("picture");
        if (!known(name)) break;
        const kind = values.get("corruption") ?? "gaussian";
        const answer = await send<Denoised>("/api/denoise", name, { corruption: kind, amount: kind === "none" ? null : amount.value, seed });
        before.src = answer.damaged;
        after.src = answer.restored;
        wipe.hidden = false;
        const figure = (source: string, text: string, alt: string) => h("figure", {}, h("img", { src: source, alt }), h("figcaption", {}, text));
        row.replaceChildren(
          figure(answer.picture, given(answer), "As given"),
          figure(answer.damaged, `Damaged, error ${number(answer.error_damaged)}`, "Damaged"),
          figure(answer.restored, `Restored, error ${number(answer.error_restored)}`, "Restored"));
        status.say("");
      }
    } catch (error) {
      status.fail(error);
    } finally {
      busy = false;
    }
  }

  const element = h("div", { class: "view denoise" }, head("Denoise", status.element),
    info.model.can_denoise ? null : h("p", { class: "note" },
      `${info.model.model} was not trained to undo damage: what it restores is what its code keeps of the damaged picture.`),
    h("div", { class: "columns" },
      h("section", { class: "panel", "aria-label": "Picture and damage" }, slot.element,
        h("div", { class: "field" }, h("span", {}, "Damage"), kinds), how, h("div", { class: "buttons" }, again)),
      h("section", { class: "panel center", "aria-label": "Before and after" }, wipe, row)));

  return {
    element,
    take,
    update(to) {
      values = to;
      const name = to.get("picture");
      if (!known(name)) {
        slot.show(null);
        anyItem(info, 0).then(found => { if (found) go(address("denoise", { ...Object.fromEntries(to), picture: found }), false); })
          .catch((error: unknown) => status.fail(error));
        return;
      }
      slot.show(name);
      const kind = to.get("corruption") ?? "gaussian";
      for (const one of kinds.children) one.setAttribute("aria-pressed", String((one as HTMLElement).dataset["value"] === kind));
      amount.value = to.get("amount") ?? "0.3";
      shown.textContent = percent(amount.valueAsNumber);
      how.hidden = again.hidden = kind === "none";
      void restore();
    },
  };
}
