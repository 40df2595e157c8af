/**
 * Rectangles as pixels in memory: the same speed with and without a graphics card, and the cost of a
 * picture depends on its size alone. Colours are what an ImageData holds, as 32-bit numbers. Pure.
 */

export class Raster {
  width = 0;
  height = 0;
  pixels = new Uint32Array(0);
  private bytes = new Uint8ClampedArray(0);

  resize(width: number, height: number): void {
    if (width !== this.width || height !== this.height) {
      this.width = width;
      this.height = height;
      const buffer = new ArrayBuffer(width * height * 4);
      this.pixels = new Uint32Array(buffer);
      this.bytes = new Uint8ClampedArray(buffer);
    }
  }

  get data(): Uint8ClampedArray<ArrayBuffer> {
    return this.bytes as Uint8ClampedArray<ArrayBuffer>;
  }

  clear(colour: number): void {
    this.pixels.fill(colour);
  }

  /** At least one pixel wide and high; what lies outside is cut off. */
  rect(left: number, top: number, right: number, bottom: number, colour: number): void {
    const x0 = Math.max(0, Math.round(left));
    const x1 = Math.min(this.width, Math.max(Math.round(right), Math.round(left) + 1));
    const y0 = Math.max(0, Math.round(top));
    const y1 = Math.min(this.height, Math.max(Math.round(bottom), Math.round(top) + 1));
    if (x1 <= x0) {
      return;
    }
    if (x1 - x0 === 1) {
      for (let at = y0 * this.width + x0, y = y0; y < y1; y += 1, at += this.width) {
        this.pixels[at] = colour;
      }
      return;
    }
    for (let y = y0; y < y1; y += 1) {
      this.pixels.fill(colour, y * this.width + x0, y * this.width + x1);
    }
  }

  /** Diagonal lines, `pitch` pixels apart and `thick` thick; `lean` 1 leans as "/", -1 as "\". */
  hatch(
    left: number,
    top: number,
    right: number,
    bottom: number,
    colour: number,
    pitch: number,
    thick: number,
    lean: 1 | -1
  ): void {
    const x0 = Math.max(0, Math.round(left));
    const x1 = Math.min(this.width, Math.round(right));
    const y0 = Math.max(0, Math.round(top));
    const y1 = Math.min(this.height, Math.round(bottom));
    for (let y = y0; y < y1; y += 1) {
      const line = y * this.width;
      for (let x = x0; x < x1; x += 1) {
        // Never negative: what is added is a multiple of the pitch.
        if ((x + lean * y + pitch * 4096) % pitch < thick) {
          this.pixels[line + x] = colour;
        }
      }
    }
  }
}

export type Rgb = readonly [number, number, number];

/** "#0072b2", "#07b", "rgb(0, 114, 178)" or "rgba(…)", as browsers write colours; null otherwise. */
export function parseColour(text: string): Rgb | null {
  const value = text.trim().toLowerCase();
  const digits = /^#([0-9a-f]{3,8})$/.exec(value)?.[1];
  if (digits && (digits.length === 3 || digits.length === 4)) {
    return [0, 1, 2].map(k => parseInt(digits[k] + digits[k], 16)) as unknown as Rgb;
  }
  if (digits && (digits.length === 6 || digits.length === 8)) {
    return [0, 2, 4].map(k => parseInt(digits.slice(k, k + 2), 16)) as unknown as Rgb;
  }
  const parts = /^rgba?\(([^)]*)\)$/.exec(value)?.[1].split(/[\s,/]+/);
  if (!parts || parts.length < 3) {
    return null;
  }
  const numbers = parts.slice(0, 3).map(Number);
  return numbers.every(Number.isFinite) ? (numbers as unknown as Rgb) : null;
}

/** A share of one colour over another. */
export function mixed(over: Rgb, under: Rgb, share: number): Rgb {
  return [0, 1, 2].map(k =>
    Math.round(over[k] * share + under[k] * (1 - share))
  ) as unknown as Rgb;
}

/** As ImageData on machines with the low byte first holds it, which all are that run browsers. */
export function packed([red, green, blue]: Rgb): number {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** How light a colour is for the eye, 0 to 1. */
export function lightness([red, green, blue]: Rgb): number {
  return (0.299 * red + 0.587 * green + 0.114 * blue) / 255;
}
