// Mouse, fingers, wheel and keys over the map, as what they mean.

export interface Meanings {
  lassoing(): boolean;
  point(x: number, y: number): void;
  leave(): void;
  /** Point at what is in the middle, for those who use keys. */
  centre(): void;
  drag(x: number, y: number): void;
  zoom(by: number, x?: number, y?: number): void;
  whole(): void;
  press(): void;
  outline(path: [number, number][], done: boolean): void;
}

const STEP = 60, STILL = 5; // pixels: of an arrow key; that a finger may move and still press

export function watch(frame: HTMLElement, to: Meanings): void {
  const down = new Map<number, [number, number]>();
  let path: [number, number][] = [], moved = 0;
  const place = (event: PointerEvent | WheelEvent): [number, number] => {
    const box = frame.getBoundingClientRect();
    return [event.clientX - box.left - frame.clientLeft, event.clientY - box.top - frame.clientTop];
  };

  frame.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    frame.setPointerCapture(event.pointerId);
    down.set(event.pointerId, place(event));
    moved = 0;
    path = to.lassoing() && down.size === 1 ? [place(event)] : [];
    if (event.pointerType !== "mouse") to.point(...place(event));
  });
  frame.addEventListener("pointermove", event => {
    const now = place(event), before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") to.point(...now);
      return;
    }
    const step = Math.hypot(now[0] - before[0], now[1] - before[1]);
    moved += step;
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      path = [];
      const far = (p: [number, number]) => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
      to.zoom(far(now) / far(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      to.drag((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else if (path.length) {
      path.push(now);
      to.outline(path, false);
    } else if (moved > STILL) to.drag(now[0] - before[0], now[1] - before[1]);
    down.set(event.pointerId, now);
  });
  const up = (event: PointerEvent) => {
    if (!down.delete(event.pointerId) || down.size) return;
    if (path.length && moved > STILL) to.outline(path, true);
    else if (moved <= STILL && event.type === "pointerup") {
      to.point(...place(event));
      to.press();
    }
    path = [];
  };
  frame.addEventListener("pointerup", up);
  frame.addEventListener("pointercancel", up);
  frame.addEventListener("pointerleave", event => { if (event.pointerType === "mouse") to.leave(); });
  frame.addEventListener("wheel", event => {
    event.preventDefault();
    to.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 20 : 1) / 400), ...place(event));
  }, { passive: false });
  frame.addEventListener("dblclick", () => to.whole());

  frame.addEventListener("focus", () => { if (frame.matches(":focus-visible")) to.centre(); });
  frame.addEventListener("blur", () => to.leave());
  frame.addEventListener("keydown", event => {
    if (event.target !== frame || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] }[event.key];
    if (way) to.drag(way[0] as number, way[1] as number);
    else if (event.key === "+" || event.key === "=") to.zoom(1.6);
    else if (event.key === "-") to.zoom(1 / 1.6);
    else if (event.key === "0") to.whole();
    else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      to.press();
      return;
    } else return;
    event.preventDefault();
    to.centre();
  });
}
