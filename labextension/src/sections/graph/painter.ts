/** What draws the graph: squares of tasks and lines between things, on a canvas of one kind or other. */
import type { Camera } from '../../model/graph/camera';

export { PIECE } from '../../model/graph/links';

/** Red, green, blue and opacity, each from 0 to 1. */
export type Rgba = readonly [number, number, number, number];

export interface Palette {
  /** By the codes of `columns.STAGE_CODES`. */
  stages: readonly Rgba[];
  line: Rgba;
  busy: Rgba;
  /** What marks on squares are drawn with. */
  surface: Rgba;
}

/** Bits of a square's code above its stage. */
export const STAGE_BITS = 7;
export const DIMMED = 8;

/** Codes of a line. */
export const LINE_BUSY = 1;
export const LINE_DASHED = 2;
export const LINE_DIMMED = 4;

export const DIM_OPACITY = 0.16;

export interface Painter {
  readonly kind: 'webgl' | 'flat';
  /** In CSS pixels. */
  resize(width: number, height: number, ratio: number): void;
  setPalette(palette: Palette): void;
  /** World positions, x and y in turns, of the top left corners; codes follow by `setCodes`. */
  setSquares(places: Float32Array, count: number, size: number): void;
  /** New codes of the squares from one to another; the array holds those of all. */
  setCodes(codes: Uint8Array, from: number, to: number): void;
  setLines(pieces: Float32Array, codes: Uint8Array): void;
  setLineCodes(codes: Uint8Array): void;
  draw(camera: Camera): void;
  dispose(): void;
}

/** Bytes that were handed to the device since the start: tests look at it. */
export interface Counters {
  uploaded: number;
  frames: number;
}
