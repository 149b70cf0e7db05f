// Colours of points: of classes those of Narrows' other maps, of numbers a run from dark to light.
const CLASSES = [
  "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8a7f00", "#7f7f7f", "#5e3c99", "#8c510a",
];
const MISSING = "#9a9a9a";
// Viridis at five places; on a dark page its darkest part would not be seen.
const LIGHT = ["#440154", "#3b528b", "#21918c", "#5ec962", "#e8d21d"];
const DARK = ["#7b52ab", "#5b7fd1", "#2fb3a6", "#7ddb6f", "#fde725"];

export const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

const rgb = (hex: string) => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16)) as [number, number, number];

const hex = (parts: number[]) => `#${parts.map(part => Math.round(part).toString(16).padStart(2, "0")).join("")}`;

/** The colour of a class; on a dark page nearer to white. */
export function classColour(index: number): string {
  const own = rgb(CLASSES[index % CLASSES.length] as string);
  return hex(isDark() ? own.map(part => part + 0.3 * (255 - part)) : own);
}

export const ramp = () => `linear-gradient(90deg, ${(isDark() ? DARK : LIGHT).join(", ")})`;

/** The colour of each of the 256 values that a point may have; 255 is missing. */
export function palette(kind: "categories" | "range" | "none"): [number, number, number][] {
  const stops = isDark() ? DARK : LIGHT;
  return Array.from({ length: 256 }, (_, value) => {
    if (kind === "none") return rgb(classColour(0));
    if (value === 255) return rgb(MISSING);
    if (kind === "categories") return rgb(classColour(value));
    const at = value / 254 * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(at));
    const [a, b] = [rgb(stops[low] as string), rgb(stops[low + 1] as string)];
    return a.map((part, i) => Math.round(part + (at - low) * ((b[i] as number) - part))) as [number, number, number];
  });
}
