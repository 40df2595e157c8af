/** Draws on a plain canvas where there is no WebGL: the same picture, slower. */
import type { Camera } from '../../model/graph/camera';
import {
  DIMMED,
  DIM_OPACITY,
  LINE_BUSY,
  LINE_DASHED,
  LINE_DIMMED,
  PIECE,
  STAGE_BITS,
  type Counters,
  type Painter,
  type Palette,
  type Rgba
} from './painter';

const MARKED = 7; // pixels from which squares have marks
const MANY = 500; // squares from which pixels are set one by one

export function flatPainter(canvas: HTMLCanvasElement, counters: Counters): Painter | null {
  const context = canvas.getContext('2d');
  return context === null ? null : new FlatPainter(context, canvas, counters);
}

class FlatPainter implements Painter {
  readonly kind = 'flat';
  private palette: Palette | null = null;
  private places: Float32Array = new Float32Array(0);
  private codes: Uint8Array = new Uint8Array(0);
  private count = 0;
  private size = 1;
  private pieces: Float32Array = new Float32Array(0);
  private lineCodes: Uint8Array = new Uint8Array(0);
  private width = 1;
  private height = 1;
  private ratio = 1;
  private image: ImageData | null = null;

  constructor(
    private readonly context: CanvasRenderingContext2D,
    private readonly canvas: HTMLCanvasElement,
    private readonly counters: Counters
  ) {}

  resize(width: number, height: number, ratio: number): void {
    this.width = width;
    this.height = height;
    this.ratio = ratio;
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
  }

  setPalette(palette: Palette): void {
    this.palette = palette;
  }

  setSquares(places: Float32Array, count: number, size: number): void {
    this.places = places;
    this.count = count;
    this.size = size;
  }

  setCodes(codes: Uint8Array): void {
    this.codes = codes;
  }

  setLines(pieces: Float32Array, codes: Uint8Array): void {
    this.pieces = pieces;
    this.lineCodes = codes;
  }

  setLineCodes(codes: Uint8Array): void {
    this.lineCodes = codes;
  }

  draw(camera: Camera): void {
    const { context, palette, ratio } = this;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.counters.frames += 1;
    if (palette !== null) {
      this.drawLines(camera, palette);
      this.drawSquares(camera, palette);
    }
  }

  dispose(): void {
    this.canvas.width = this.canvas.height = 1;
    this.image = null;
  }

  private drawLines(camera: Camera, palette: Palette): void {
    const { context } = this;
    const scale = Math.min(1.6, Math.max(0.45, camera.zoom));
    context.lineCap = 'round'; // no seams between the pieces of a line
    for (let i = 0; i < this.lineCodes.length; i++) {
      const [ax, ay, bx, by, w0, w1, along] = this.pieces.subarray(i * PIECE, (i + 1) * PIECE);
      const [x0, y0] = [(ax - camera.x) * camera.zoom, (ay - camera.y) * camera.zoom];
      const [x1, y1] = [(bx - camera.x) * camera.zoom, (by - camera.y) * camera.zoom];
      const code = this.lineCodes[i];
      if (
        Math.max(x0, x1) < -9 ||
        Math.min(x0, x1) > this.width + 9 ||
        Math.max(y0, y1) < -9 ||
        Math.min(y0, y1) > this.height + 9 ||
        (code & LINE_DASHED && w0 === w1 && (along * camera.zoom) % 7 > 3.5)
      ) {
        continue;
      }
      const colour = css(
        code & LINE_BUSY ? palette.busy : palette.line,
        code & LINE_DIMMED ? DIM_OPACITY : 1
      );
      context.beginPath();
      if (w0 === w1) {
        context.strokeStyle = colour;
        context.lineWidth = w0 * scale;
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
        context.stroke();
      } else {
        const length = Math.hypot(x1 - x0, y1 - y0) || 1;
        const nx = (-(y1 - y0) / length) * w0 * scale * 0.5;
        const ny = ((x1 - x0) / length) * w0 * scale * 0.5;
        context.fillStyle = colour;
        context.moveTo(x0 + nx, y0 + ny);
        context.lineTo(x1, y1);
        context.lineTo(x0 - nx, y0 - ny);
        context.fill();
      }
    }
  }

  private drawSquares(camera: Camera, palette: Palette): void {
    const { context, ratio } = this;
    const side = Math.max(1, Math.floor(this.size * camera.zoom * ratio + 0.01)) / ratio;
    if (side < MARKED && this.count > MANY) {
      this.setPixels(camera, palette, Math.round(side * ratio));
      return;
    }
    const fills = palette.stages.map(colour => css(colour, 1));
    const dimmed = palette.stages.map(colour => css(colour, DIM_OPACITY));
    for (let i = 0; i < this.count; i++) {
      const x = Math.round((this.places[2 * i] - camera.x) * camera.zoom * ratio) / ratio;
      const y = Math.round((this.places[2 * i + 1] - camera.y) * camera.zoom * ratio) / ratio;
      if (x < -side || y < -side || x > this.width || y > this.height) {
        continue;
      }
      const code = this.codes[i];
      const stage = code & STAGE_BITS;
      context.fillStyle = (code & DIMMED ? dimmed : fills)[stage];
      context.fillRect(x, y, side, side);
      if (side >= MARKED && stage >= 3) {
        this.mark(stage, x, y, side, css(palette.surface, 1));
      }
    }
  }

  /** Many small squares, pixel by pixel: ten thousand take a millisecond or two. */
  private setPixels(camera: Camera, palette: Palette, side: number): void {
    const { context, ratio, places, codes, canvas } = this;
    const { width, height } = canvas;
    if (this.image?.width !== width || this.image.height !== height) {
      this.image = context.createImageData(width, height);
    }
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill(0);
    const colours = [1, DIM_OPACITY].flatMap(opacity =>
      palette.stages.map(colour => packed(colour, opacity))
    );
    const scale = camera.zoom * ratio;
    for (let i = 0; i < this.count; i++) {
      const x = Math.round((places[2 * i] - camera.x) * scale);
      const y = Math.round((places[2 * i + 1] - camera.y) * scale);
      const right = Math.min(width, x + side);
      const bottom = Math.min(height, y + side);
      if (right <= 0 || bottom <= 0 || x >= width || y >= height) {
        continue;
      }
      const code = codes[i];
      const colour = colours[(code & STAGE_BITS) + (code & DIMMED ? palette.stages.length : 0)];
      for (let row = Math.max(0, y); row < bottom; row++) {
        pixels.fill(colour, row * width + Math.max(0, x), row * width + right);
      }
    }
    context.putImageData(this.image, 0, 0);
  }

  /** A cross on what failed, a bar on what was cancelled. */
  private mark(stage: number, x: number, y: number, side: number, colour: string): void {
    const { context } = this;
    const [a, b] = [side * 0.25, side * 0.75];
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    if (stage === 3) {
      context.moveTo(x + a, y + a);
      context.lineTo(x + b, y + b);
      context.moveTo(x + b, y + a);
      context.lineTo(x + a, y + b);
    } else {
      context.moveTo(x + a, y + side / 2);
      context.lineTo(x + b, y + side / 2);
    }
    context.stroke();
  }
}

/** As the processor stores it: every one that browsers run on has the lowest byte first. */
function packed([r, g, b, a]: Rgba, opacity: number): number {
  const part = (value: number): number => Math.round(value * 255);
  return ((part(a * opacity) << 24) | (part(b) << 16) | (part(g) << 8) | part(r)) >>> 0;
}

function css([r, g, b, a]: Rgba, opacity: number): string {
  const part = (value: number): number => Math.round(value * 255);
  return `rgba(${part(r)},${part(g)},${part(b)},${(a * opacity).toFixed(3)})`;
}
