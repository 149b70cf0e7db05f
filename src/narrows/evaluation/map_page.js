"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
const about = document.getElementById("about"), key = document.getElementById("key");
const bytes = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));
const places = new Uint16Array(bytes(data.places).buffer);
const groups = data.groups && new Uint16Array(bytes(data.groups).buffer);
const shades = data.shades && bytes(data.shades);
const n = places.length / 2;
const dark = matchMedia("(prefers-color-scheme: dark)");
const SHAPES = ["circle", "square", "triangle", "diamond"];
let chosen = -1, at = -1, view = {x: 0, y: 0, zoom: 1}, size = {w: 1, h: 1, ratio: 1}, waiting = false;

const colour = group => data.colours[group % data.colours.length];
const shape = group => SHAPES[Math.floor(group / data.colours.length) % SHAPES.length];

function outline(path, kind, x, y, r) {
  if (kind === "circle") path.arc(x, y, r, 0, 7);
  else if (kind === "square") path.rect(x - r * .9, y - r * .9, r * 1.8, r * 1.8);
  else {
    const corners = kind === "triangle" ? [[0, -1.2], [1.1, .8], [-1.1, .8]] : [[0, -1.3], [1.1, 0], [0, 1.3], [-1.1, 0]];
    corners.forEach(([a, b], i) => i ? path.lineTo(x + a * r, y + b * r) : path.moveTo(x + a * r, y + b * r));
    path.closePath();
  }
}

// One little picture of each kind of dot, stamped for every sample.
function stamp(fill, kind, r) {
  const dot = document.createElement("canvas"), side = Math.ceil(3 * r) + 2;
  dot.width = dot.height = side;
  const p = dot.getContext("2d");
  p.fillStyle = fill;
  p.beginPath();
  outline(p, kind, side / 2, side / 2, r);
  p.fill();
  return dot;
}

function screen(i) {
  const side = Math.min(size.w, size.h) * .94 * view.zoom / 65535;
  return [
    size.w / 2 + (places[2 * i] - 32767.5 - view.x) * side,
    size.h / 2 - (places[2 * i + 1] - 32767.5 - view.y) * side,
  ];
}

function draw() {
  waiting = false;
  const r = Math.max(1.1, Math.min(5, 120 / Math.sqrt(n))) * Math.min(3, view.zoom ** .4) * size.ratio;
  const kinds = groups ? data.classes.map((_, g) => stamp(colour(g), shape(g), r))
    : shades ? data.ramp.map(c => stamp(c, "circle", r)) : [stamp(data.colours[0], "circle", r)];
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const half = kinds[0].width / 2;
  for (const front of chosen < 0 ? [true] : [false, true]) {
    pen.globalAlpha = front ? (n > 3000 ? .7 : .85) : .08;
    for (let i = 0; i < n; i++) {
      if (chosen >= 0 && (groups[i] === chosen) !== front) continue;
      const [x, y] = screen(i);
      if (x < -9 || y < -9 || x > size.w + 9 || y > size.h + 9) continue;
      const kind = groups ? groups[i] : shades ? shades[i] : 0;
      pen.drawImage(kinds[kind], x * size.ratio - half, y * size.ratio - half);
    }
  }
  pen.globalAlpha = 1;
  pen.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
  if (groups && data.classes.length <= 20) name();
  if (at >= 0) {
    const [x, y] = screen(at);
    pen.strokeStyle = dark.matches ? "#fff" : "#000";
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(x, y, 7, 0, 7);
    pen.stroke();
  }
}

// The classes' names at their middles, pushed apart where they would cover each other.
function name() {
  pen.font = "600 13px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 4;
  pen.lineJoin = "round";
  const taken = [];
  data.classes.forEach((text, g) => {
    const middle = data.middles[g];
    let [x, y] = [size.w / 2, size.h / 2];
    const side = Math.min(size.w, size.h) * .94 * view.zoom / 65535;
    x += (middle[0] - 32767.5 - view.x) * side;
    y -= (middle[1] - 32767.5 - view.y) * side;
    const shown = text.length > 18 ? text.slice(0, 17) + "\u2026" : text;
    const w = pen.measureText(shown).width / 2 + 3;
    x = view.zoom > 1.01 ? x : Math.min(Math.max(x, w), size.w - w);
    for (let t = 0; t < 40 && taken.some(b => Math.abs(b[0] - x) < b[2] + w && Math.abs(b[1] - y) < 17); t++)
      y += (t % 2 ? -1 : 1) * 6 * (t + 1);
    taken.push([x, y, w]);
    pen.globalAlpha = chosen < 0 || chosen === g ? 1 : .25;
    pen.strokeStyle = dark.matches ? "#1d1d1dd0" : "#ffffffd8";
    pen.fillStyle = dark.matches ? "#fff" : "#000";
    pen.strokeText(shown, x, y);
    pen.fillText(shown, x, y);
  });
  pen.globalAlpha = 1;
}

function again() { if (!waiting) { waiting = true; requestAnimationFrame(draw); } }

function number(value) {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e6) ? value.toExponential(2)
    : value.toLocaleString("en", {maximumSignificantDigits: 3});
}

function resize() {
  const box = canvas.getBoundingClientRect();
  size = {w: box.width, h: box.height, ratio: devicePixelRatio || 1};
  canvas.width = Math.round(size.w * size.ratio);
  canvas.height = Math.round(size.h * size.ratio);
  about.hidden = true;
  at = -1;
  draw();
}

function add(parent, tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function point(x, y) {
  let best = 20 * 20, found = -1;
  for (let i = 0; i < n; i++) {
    if (chosen >= 0 && groups[i] !== chosen) continue;
    const [a, b] = screen(i), d = (a - x) ** 2 + (b - y) ** 2;
    if (d < best) { best = d; found = i; }
  }
  if (found === at) return;
  at = found;
  about.hidden = at < 0;
  if (at >= 0) tell();
  again();
}

function tell() {
  about.replaceChildren();
  if (data.sheet) {
    const {columns, side, width, height, source} = data.sheet, grow = Math.max(1, Math.floor(96 / side));
    const picture = add(about, "i");
    picture.style.width = picture.style.height = side * grow + "px";
    picture.style.backgroundImage = `url(${source})`;
    picture.style.backgroundSize = `${width * grow}px ${height * grow}px`;
    picture.style.backgroundPosition = `${-(at % columns) * side * grow}px ${-Math.floor(at / columns) * side * grow}px`;
  }
  if (groups) add(about, "b", data.classes[groups[at]]);
  if (data.values) add(about, "b", data.value + " " + number(data.values[at]));
  add(about, "span", data.names ? data.names[at] : "row " + (data.rows ? data.rows[at] : at));
  const [x, y] = screen(at), w = about.offsetWidth, h = about.offsetHeight;
  about.style.left = Math.max(4, x + 16 + w > size.w ? x - 16 - w : x + 16) + "px";
  about.style.top = Math.max(4, Math.min(y - h / 2, size.h - h - 4)) + "px";
}

function zoom(by, x, y) {
  const to = Math.min(200, Math.max(1, view.zoom * by)), side = Math.min(size.w, size.h) * .94 / 65535;
  const step = 1 / (side * view.zoom) - 1 / (side * to);
  view = {x: view.x + (x - size.w / 2) * step, y: view.y - (y - size.h / 2) * step, zoom: to};
  if (to === 1) view = {x: 0, y: 0, zoom: 1};
  about.hidden = true;
  at = -1;
  again();
}

const fingers = new Map();
const place = e => { const box = canvas.getBoundingClientRect(); return [e.clientX - box.left, e.clientY - box.top]; };
canvas.addEventListener("pointerdown", e => { fingers.set(e.pointerId, place(e)); canvas.setPointerCapture(e.pointerId); point(...place(e)); });
for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, e => fingers.delete(e.pointerId));
canvas.addEventListener("pointerleave", e => { if (e.pointerType === "mouse") point(-1e6, -1e6); });
canvas.addEventListener("pointermove", e => {
  const now = place(e), before = fingers.get(e.pointerId);
  if (!before) { point(...now); return; }
  const other = [...fingers].find(([id]) => id !== e.pointerId);
  if (other) {
    const far = p => Math.hypot(p[0] - other[1][0], p[1] - other[1][1]);
    zoom(far(now) / Math.max(1, far(before)), (now[0] + other[1][0]) / 2, (now[1] + other[1][1]) / 2);
  } else {
    const side = Math.min(size.w, size.h) * .94 * view.zoom / 65535;
    view.x -= (now[0] - before[0]) / side;
    view.y += (now[1] - before[1]) / side;
    about.hidden = true;
    at = -1;
    again();
  }
  fingers.set(e.pointerId, now);
});
canvas.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY / 400), ...place(e)); }, {passive: false});
canvas.addEventListener("dblclick", () => { view = {x: 0, y: 0, zoom: 1}; again(); });

if (groups) {
  data.classes.forEach((text, g) => {
    const button = add(key, "button"), ns = "http://www.w3.org/2000/svg";
    const icon = document.createElementNS(ns, "svg"), mark = document.createElementNS(ns, "path");
    icon.setAttribute("width", 14);
    icon.setAttribute("height", 14);
    mark.setAttribute("d", {
      circle: "M7 2a5 5 0 1 0 .01 0z", square: "M2.5 2.5h9v9h-9z", triangle: "M7 1 12.5 11.5h-11z", diamond: "M7 .5 12.5 7 7 13.5 1.5 7z",
    }[shape(g)]);
    mark.setAttribute("fill", colour(g));
    icon.append(mark);
    button.append(icon);
    add(button, "span", text);
    add(button, "small", data.counts[g].toLocaleString("en"));
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      chosen = chosen === g ? -1 : g;
      at = -1;
      about.hidden = true;
      [...key.children].forEach((b, i) => b.setAttribute("aria-pressed", String(i === chosen)));
      again();
    });
  });
} else if (shades) {
  const box = add(key, "div");
  add(box, "b", data.value);
  const bar = add(box, "div"), ends = add(box, "div");
  bar.id = "bar";
  bar.style.background = `linear-gradient(90deg, ${data.ramp.join(",")})`;
  ends.id = "ends";
  for (const end of data.ends) add(ends, "span", number(end));
} else key.hidden = true;

addEventListener("resize", resize);
dark.addEventListener("change", again);
resize();
