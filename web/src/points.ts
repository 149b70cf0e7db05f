// Up to a million points: drawn by WebGL, or pixel by pixel where there is none; found again by cells.

export interface Look { x: number; y: number; zoom: number }

const VERTEX = `
attribute float x, y;
attribute vec4 colour;
uniform vec2 middle, scale;
uniform mediump float size;
varying vec4 shade;
void main() {
  gl_Position = vec4((vec2(x, y) - middle) * scale, 0., 1.);
  gl_PointSize = size;
  shade = colour;
}`;

const FRAGMENT = `
precision mediump float;
varying vec4 shade;
uniform float size;
void main() {
  float far = length(gl_PointCoord - .5) * size;
  float there = shade.a * clamp(size * .5 - far + .5, 0., 1.);
  gl_FragColor = vec4(shade.rgb * there, there);
}`;

interface Painter {
  /** Take what to draw: places, and four bytes of colour a point. */
  load(x: Float32Array, y: Float32Array, colours: Uint8Array): void;
  /** Draw points of some pixels; middle and scale lead from places to -1 … 1 on the screen. */
  draw(middle: [number, number], scale: [number, number], size: number): void;
}

function byWebGL(canvas: HTMLCanvasElement): Painter | null {
  const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]] as const) {
    const shader = gl.createShader(kind);
    if (!shader) return null;
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
  gl.useProgram(program);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const [middleAt, scaleAt, sizeAt] = ["middle", "scale", "size"].map(name => gl.getUniformLocation(program, name));
  const buffers = { x: gl.createBuffer(), y: gl.createBuffer(), colour: gl.createBuffer() };
  let count = 0;
  const put = (name: keyof typeof buffers, values: Float32Array | Uint8Array, width: number, type: number) => {
    const at = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, width, type, type === gl.UNSIGNED_BYTE, 0, 0);
  };
  return {
    load(x, y, colours) {
      count = x.length;
      put("x", x, 1, gl.FLOAT);
      put("y", y, 1, gl.FLOAT);
      put("colour", colours, 4, gl.UNSIGNED_BYTE);
    },
    draw(middle, scale, size) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2fv(middleAt ?? null, middle);
      gl.uniform2fv(scaleAt ?? null, scale);
      gl.uniform1f(sizeAt ?? null, size);
      gl.drawArrays(gl.POINTS, 0, count);
    },
  };
}

/** Squares written straight into the picture's pixels: a million take less than half a second. */
function byPixels(canvas: HTMLCanvasElement): Painter {
  const pen = canvas.getContext("2d") as CanvasRenderingContext2D;
  let x = new Float32Array(), y = new Float32Array(), colours = new Uint32Array();
  return {
    load(newX, newY, bytes) {
      x = newX as Float32Array<ArrayBuffer>;
      y = newY as Float32Array<ArrayBuffer>;
      colours = new Uint32Array(bytes.buffer as ArrayBuffer);
    },
    draw(middle, scale, size) {
      const { width, height } = canvas;
      const picture = pen.createImageData(width, height), pixels = new Uint32Array(picture.data.buffer);
      const side = Math.max(1, Math.round(size * 0.85));
      for (let i = 0; i < x.length; i++) {
        const left = Math.round((((x[i] as number) - middle[0]) * scale[0] + 1) / 2 * width - side / 2);
        const top = Math.round((1 - ((y[i] as number) - middle[1]) * scale[1]) / 2 * height - side / 2);
        if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
        for (let row = top; row < top + side; row++) pixels.fill(colours[i] as number, row * width + left, row * width + left + side);
      }
      pen.putImageData(picture, 0, 0);
    },
  };
}

/** Points by the cells of a grid over [-1, 1]², each cell's together. */
class Cells {
  private readonly side: number;
  private readonly starts: Uint32Array;
  private readonly order: Uint32Array;

  constructor(private readonly x: Float32Array, private readonly y: Float32Array) {
    this.side = Math.max(1, Math.min(1024, Math.round(Math.sqrt(x.length / 4))));
    this.starts = new Uint32Array(this.side ** 2 + 1);
    this.order = new Uint32Array(x.length);
    const cells = new Uint32Array(x.length);
    for (let i = 0; i < x.length; i++) {
      cells[i] = this.along(y[i] as number) * this.side + this.along(x[i] as number);
      (this.starts[cells[i] as number + 1] as number) += 1;
    }
    for (let c = 0; c < this.side ** 2; c++) (this.starts[c + 1] as number) += this.starts[c] as number;
    const next = this.starts.slice();
    for (let i = 0; i < x.length; i++) this.order[(next[cells[i] as number] as number)++] = i;
  }

  private along(value: number): number {
    return Math.max(0, Math.min(this.side - 1, Math.floor((value + 1) / 2 * this.side)));
  }

  /** The nearest point within a distance, or -1. */
  nearest(x: number, y: number, within: number, counts: (i: number) => boolean): number {
    let best = within ** 2, found = -1;
    const [left, right] = [this.along(x - within), this.along(x + within)];
    for (let row = this.along(y - within); row <= this.along(y + within); row++) {
      const end = this.starts[row * this.side + right + 1] as number;
      for (let at = this.starts[row * this.side + left] as number; at < end; at++) {
        const i = this.order[at] as number;
        const far = ((this.x[i] as number) - x) ** 2 + ((this.y[i] as number) - y) ** 2;
        if (far < best && counts(i)) { best = far; found = i; }
      }
    }
    return found;
  }
}

const NEAR = 14; // pixels within which a point is meant

export class Points {
  readonly canvas: HTMLCanvasElement;
  look: Look = { x: 0, y: 0, zoom: 1 };
  x = new Float32Array();
  y = new Float32Array();
  width = 1;
  height = 1;
  /** Whether a point can be found. */
  counts: (i: number) => boolean = () => true;
  private cells = new Cells(this.x, this.y);
  private painter: Painter;

  constructor() {
    // A canvas that WebGL has touched has no other use.
    const canvas = document.createElement("canvas"), painter = byWebGL(canvas);
    this.canvas = painter ? canvas : document.createElement("canvas");
    this.painter = painter ?? byPixels(this.canvas);
    this.canvas.dataset["by"] = painter ? "webgl" : "pixels";
    // A lost context gives its buffers back: what comes then is drawn from those that are kept here.
    this.canvas.addEventListener("webglcontextlost", event => event.preventDefault());
  }

  onRestored(again: () => void): void {
    this.canvas.addEventListener("webglcontextrestored", () => {
      this.painter = byWebGL(this.canvas) ?? this.painter;
      again();
    });
  }

  place(x: Float32Array<ArrayBuffer>, y: Float32Array<ArrayBuffer>): void {
    this.x = x;
    this.y = y;
    this.cells = new Cells(x, y);
  }

  paint(colours: Uint8Array): void {
    this.painter.load(this.x, this.y, colours);
  }

  /** Pixels of the screen that a step of 1 takes. */
  get step(): number {
    return Math.min(this.width, this.height) * 0.47 * this.look.zoom;
  }

  resize(width: number, height: number): void {
    const ratio = devicePixelRatio || 1;
    this.width = width;
    this.height = height;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
  }

  draw(): void {
    const ratio = devicePixelRatio || 1, n = Math.max(1, this.x.length);
    const size = Math.max(1.5, Math.min(9, 420 / Math.sqrt(n))) * Math.min(4, this.look.zoom ** 0.4) * ratio;
    this.painter.draw([this.look.x, this.look.y], [2 * this.step / this.width, 2 * this.step / this.height], size);
  }

  screen(x: number, y: number): [number, number] {
    return [this.width / 2 + (x - this.look.x) * this.step, this.height / 2 - (y - this.look.y) * this.step];
  }

  map(left: number, top: number): [number, number] {
    return [this.look.x + (left - this.width / 2) / this.step, this.look.y - (top - this.height / 2) / this.step];
  }

  nearest(left: number, top: number, within = NEAR): number {
    return this.cells.nearest(...this.map(left, top), within / this.step, this.counts);
  }

  zoom(by: number, left = this.width / 2, top = this.height / 2): void {
    const before = this.map(left, top);
    this.look.zoom = Math.max(0.8, Math.min(500, this.look.zoom * by));
    const after = this.map(left, top);
    this.move(before[0] - after[0], before[1] - after[1]);
  }

  move(x: number, y: number): void {
    this.look.x = Math.max(-1.2, Math.min(1.2, this.look.x + x));
    this.look.y = Math.max(-1.2, Math.min(1.2, this.look.y + y));
  }

  /** The points on the screen that pass a test of their pixel there. */
  private those(test: (left: number, top: number) => boolean): number[] {
    const found: number[] = [], { width, height } = this;
    for (let i = 0; i < this.x.length; i++) {
      const [left, top] = this.screen(this.x[i] as number, this.y[i] as number);
      if (left >= 0 && top >= 0 && left < width && top < height && test(left, top) && this.counts(i)) found.push(i);
    }
    return found;
  }

  inView(): number[] {
    return this.those(() => true);
  }

  /** The points inside an outline, which is drawn once and then asked pixel by pixel. */
  inside(outline: [number, number][]): number[] {
    const mask = new OffscreenCanvas(Math.ceil(this.width), Math.ceil(this.height)), pen = mask.getContext("2d");
    if (!pen) return [];
    pen.beginPath();
    for (const [left, top] of outline) pen.lineTo(left, top);
    pen.fill("evenodd");
    const { data } = pen.getImageData(0, 0, mask.width, mask.height);
    return this.those((left, top) => (data[(Math.floor(top) * mask.width + Math.floor(left)) * 4 + 3] ?? 0) > 127);
  }
}
