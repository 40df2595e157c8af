/** Draws the lanes into a raster: idle bands, marks of the axis, spans at the level of detail. Pure. */
import { eachBlock, type Block } from './blocks';
import type { Path } from './critical';
import { HIDDEN, type Lanes } from './lanes';
import type { Layout, Placed } from './layout';
import { shade, type Paint, type Slots } from './palette';
import type { Raster } from './raster';
import { FAILED, type Spans } from './spans';
import type { View } from './view';

export interface Scene {
  spans: Spans;
  lanes: Lanes;
  layout: Layout;
  slots: Slots;
  paint: Paint;
  view: View;
  /** CSS pixels: where time begins, how wide it is, and what of the lanes is scrolled away. */
  left: number;
  width: number;
  scroll: number;
  /** Device pixels of one CSS pixel. */
  ratio: number;
  /** Which spans stand out; null: all. */
  lit: ((span: number) => boolean) | null;
  path: Path | null;
  /** Moments with a line through all lanes. */
  marks: readonly number[];
}

const FAINT = 0.1; // shade of what does not stand out
const UNFINISHED = 0.62;

/** Fills the raster with the lanes. */
export function paintLanes(raster: Raster, scene: Scene): void {
  const { paint, layout, ratio } = scene;
  raster.clear(0);
  const bottom = raster.height / ratio + scene.scroll;
  const from = firstVisible(layout, scene.scroll);
  for (let n = from; n < layout.placed.length && layout.placed[n].top < bottom; n += 1) {
    const placed = layout.placed[n];
    for (let row = 0; row < Math.max(1, placed.lane.rows.length); row += 1) {
      const [top, end] = bounds(scene, placed, row);
      raster.rect(scene.left * ratio, top, raster.width, end, paint.idle);
    }
  }
  for (const time of scene.marks) {
    const x = pixel(scene, time);
    if (x >= scene.left * ratio) {
      raster.rect(x, 0, x + 1, raster.height, paint.line);
    }
  }
  const clip = new Clip(raster, Math.round(scene.left * ratio));
  for (let n = from; n < layout.placed.length && layout.placed[n].top < bottom; n += 1) {
    paintLane(clip, scene, layout.placed[n]);
  }
  if (scene.path) {
    paintPath(clip, scene, scene.path);
  }
}

function firstVisible(layout: Layout, scroll: number): number {
  const n = layout.placed.findIndex(one => one.top + one.height > scroll);
  return n < 0 ? layout.placed.length : n;
}

/** Top and bottom of a row, in device pixels. */
function bounds(scene: Scene, placed: Placed, row: number): [number, number] {
  const top = Math.round((placed.rows + row * placed.pitch - scene.scroll) * scene.ratio);
  return [top, top + Math.max(1, Math.round(placed.rowHeight * scene.ratio))];
}

/** Device pixels from the raster's left edge. */
export function pixel(scene: Scene, time: number): number {
  const { begin, end } = scene.view;
  return Math.round(
    (scene.left + ((time - begin) / (end - begin)) * scene.width) * scene.ratio
  );
}

/** Rectangles that end where the labels begin. */
class Clip {
  private readonly run = { left: 0, top: 0, right: -1, bottom: 0, colour: 0 };

  constructor(
    readonly raster: Raster,
    readonly left: number
  ) {}

  /** A column of merged spans; those beside each other that look alike are one rectangle. */
  column(left: number, top: number, right: number, bottom: number, colour: number): void {
    const { run } = this;
    if (run.right === left && run.colour === colour && run.top === top) {
      run.right = right;
      return;
    }
    this.flush();
    this.run.left = left;
    this.run.top = top;
    this.run.right = right;
    this.run.bottom = bottom;
    this.run.colour = colour;
  }

  flush(): void {
    const { left, top, right, bottom, colour } = this.run;
    if (right > left) {
      this.rect(left, top, right, bottom, colour);
    }
    this.run.right = -1;
  }

  rect(left: number, top: number, right: number, bottom: number, colour: number): void {
    if (Math.max(right, left + 1) > this.left) {
      this.raster.rect(Math.max(left, this.left), top, right, bottom, colour);
    }
  }

  hatch(
    left: number,
    top: number,
    right: number,
    bottom: number,
    colour: number,
    ratio: number,
    lean: 1 | -1
  ): void {
    const pitch = Math.round(4 * ratio);
    const thick = Math.max(1, Math.round(1.3 * ratio));
    this.raster.hatch(
      Math.max(left, this.left),
      top,
      right,
      bottom,
      colour,
      pitch,
      thick,
      lean
    );
  }
}

function paintLane(clip: Clip, scene: Scene, placed: Placed): void {
  const { spans, view, ratio } = scene;
  const perSecond = (scene.width * ratio) / (view.end - view.begin);
  const offset = scene.left * ratio;
  placed.lane.rows.forEach((row, number) => {
    const [top, bottom] = bounds(scene, placed, number);
    eachBlock(spans, row, view.begin, perSecond, scene.width * ratio, block => {
      if (scene.lit !== null && !scene.path) {
        choose(block, row.at, scene.lit);
      }
      paintBlock(clip, scene, block, offset, top, bottom);
    });
    clip.flush();
  });
  for (const i of placed.lane.running) {
    paintRunning(clip, scene, placed, i);
  }
}

/** Of a merged block, one that stands out decides how it looks. */
function choose(block: Block, at: Int32Array, lit: (span: number) => boolean): void {
  for (let k = block.from; k < block.to; k += 1) {
    if (lit(at[k])) {
      block.span = at[k];
      return;
    }
  }
}

function paintBlock(
  clip: Clip,
  scene: Scene,
  block: Block,
  offset: number,
  top: number,
  bottom: number
): void {
  const { spans, paint, ratio } = scene;
  const i = block.span;
  const slot = scene.slots.get(spans.group[i]);
  const faint = scene.path !== null || (scene.lit !== null && !scene.lit(i));
  const left = Math.round(offset + block.left);
  let right = Math.round(offset + block.right);
  const level = shade(faint ? FAINT : block.busy);
  if (block.count > 1) {
    clip.column(left, top, right, bottom, paint.shades[slot][level]);
    if (block.failed > 0 && !faint) {
      clip.flush();
      const third = Math.max(2, Math.round((bottom - top) / 3));
      clip.rect(left, bottom - third, right, bottom, paint.failedShades[15]);
    }
    return;
  }
  right -= right - left >= 3 * ratio ? Math.max(1, Math.round(ratio / 2)) : 0; // a gap to the next
  const failed = block.failed > 0;
  clip.rect(
    left,
    top,
    right,
    bottom,
    failed ? paint.failedShades[level] : paint.shades[slot][level]
  );
  if (faint) {
    return;
  }
  if (failed && right - left >= 4 * ratio) {
    clip.hatch(left, top, right, bottom, paint.slash, ratio, -1);
  } else if (!failed) {
    paintTransfers(clip, scene, i, slot, left, right, top, bottom);
  }
}

/** What reading arguments and storing results took, hatched. */
function paintTransfers(
  clip: Clip,
  scene: Scene,
  i: number,
  slot: number,
  left: number,
  right: number,
  top: number,
  bottom: number
): void {
  const { spans, paint, ratio } = scene;
  const perSecond = (scene.width * ratio) / (scene.view.end - scene.view.begin);
  const reading = Math.round(spans.reading[i] * perSecond);
  const storing = Math.round(spans.storing[i] * perSecond);
  const colour = paint.hatch[slot];
  if (reading >= 2) {
    clip.hatch(left, top, Math.min(left + reading, right), bottom, colour, ratio, 1);
  }
  if (storing >= 2) {
    clip.hatch(Math.max(right - storing, left), top, right, bottom, colour, ratio, 1);
  }
}

function paintRunning(clip: Clip, scene: Scene, placed: Placed, i: number): void {
  const { spans, paint, ratio, view } = scene;
  if (spans.start[i] >= view.end || spans.end[i] <= view.begin) {
    return;
  }
  const [top, bottom] = bounds(scene, placed, scene.lanes.row[i]);
  const slot = scene.slots.get(spans.group[i]);
  const faint = scene.path !== null || (scene.lit !== null && !scene.lit(i));
  const left = pixel(scene, spans.start[i]);
  const right = pixel(scene, spans.end[i]);
  clip.rect(left, top, right, bottom, paint.shades[slot][shade(faint ? FAINT : UNFINISHED)]);
  if (!faint) {
    const edge = Math.max(2, Math.round(2 * ratio));
    clip.rect(Math.max(left, right - edge), top, right, bottom, paint.shades[slot][15]);
  }
}

function paintPath(clip: Clip, scene: Scene, path: Path): void {
  const { spans, lanes, layout, paint, view } = scene;
  for (const step of path.steps) {
    if (step.to < view.begin || step.from > view.end || lanes.row[step.span] === HIDDEN) {
      continue;
    }
    const placed = layout.byLane[lanes.lane[step.span]];
    const [top, bottom] = bounds(scene, placed, lanes.row[step.span]);
    if (bottom < 0 || top > clip.raster.height) {
      continue;
    }
    const failed = (spans.flags[step.span] & FAILED) !== 0;
    const shades = failed
      ? paint.failedShades
      : paint.shades[scene.slots.get(spans.group[step.span])];
    const left = pixel(scene, step.from);
    const right = pixel(scene, step.to);
    const gap = right - left >= 3 * scene.ratio ? 1 : 0; // one step ends where the next begins
    clip.rect(left, top, right - gap, bottom, shades[15]);
  }
}

/** Top and bottom of a span, in CSS pixels from the top of the lanes; null where it has no row. */
export function boxOf(
  scene: Pick<Scene, 'lanes' | 'layout'>,
  span: number
): { top: number; height: number } | null {
  const row = scene.lanes.row[span];
  const placed = scene.layout.byLane[scene.lanes.lane[span]];
  if (row === HIDDEN || !placed) {
    return null;
  }
  return { top: placed.rows + row * placed.pitch, height: placed.rowHeight };
}
