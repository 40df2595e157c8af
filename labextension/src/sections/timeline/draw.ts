/** Puts the raster on a canvas, and on it what needs a pen: the axis, labels, outlines, the path's links. */
import { eachBlock } from './blocks';
import type { Feed } from './feed';
import { HIDDEN } from './lanes';
import { boxOf, paintLanes, type Scene } from './paint';
import { css } from './palette';
import type { Raster } from './raster';
import { ticks, type Tick } from './view';
import { functionName } from './words';

export const RULER = 18;
export const QUEUE = 24;
const LABELS = 300; // texts inside of spans, in one picture
const LINKS = 2_000;

export interface Drawing {
  scene: Scene;
  feed: Feed;
  raster: Raster;
  font: string;
  /** Names of lanes stand beside them, not above. */
  wide: boolean;
  /** How many tasks waited in each pixel of the time; null: it is not shown. */
  waiting: Float64Array | null;
  waitingText: string;
  cursor: number;
  hovered: number;
  selected: number;
  height: number;
}

export function axisTicks(scene: Pick<Scene, 'view' | 'width'>, origin: number): Tick[] {
  return ticks(scene.view, origin, Math.max(2, Math.floor(scene.width / 84)));
}

/** CSS pixels above the lanes. */
export function headHeight(drawing: Pick<Drawing, 'waiting'>): number {
  return RULER + (drawing.waiting ? QUEUE : 0);
}

export function draw(canvas: HTMLCanvasElement, drawing: Drawing): void {
  const { scene, raster } = drawing;
  const { ratio, paint } = scene;
  const pen = canvas.getContext('2d');
  const width = Math.round((scene.left + scene.width) * ratio);
  const height = Math.round(drawing.height * ratio);
  if (!pen || width <= 0 || height <= 0) {
    return;
  }
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const head = headHeight(drawing);
  raster.resize(width, Math.max(1, height - Math.round(head * ratio)));
  const marks = axisTicks(scene, drawing.feed.lanes.begin);
  paintLanes(raster, { ...scene, marks: marks.map(mark => mark.time) });
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, width, height);
  const picture = new ImageData(raster.data, raster.width, raster.height);
  pen.putImageData(picture, 0, Math.round(head * ratio));
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.textBaseline = 'middle';
  drawAxis(pen, drawing, marks);
  if (drawing.waiting) {
    drawWaiting(pen, drawing, drawing.waiting);
  }
  pen.save();
  pen.beginPath();
  pen.rect(0, head, scene.left + scene.width, drawing.height - head);
  pen.clip();
  pen.translate(0, head - scene.scroll);
  drawNames(pen, drawing);
  pen.beginPath();
  pen.rect(scene.left, scene.scroll, scene.width, drawing.height);
  pen.clip();
  if (!scene.path) {
    drawTexts(pen, drawing);
  }
  drawLinks(pen, drawing);
  outline(pen, drawing, drawing.selected, paint.accent, 2);
  outline(pen, drawing, drawing.hovered, paint.text, 1.5);
  outline(pen, drawing, drawing.cursor, paint.accent, 2);
  pen.restore();
}

function x(scene: Scene, time: number): number {
  const { begin, end } = scene.view;
  return scene.left + ((time - begin) / (end - begin)) * scene.width;
}

function drawAxis(pen: CanvasRenderingContext2D, drawing: Drawing, marks: Tick[]): void {
  const { scene, font } = drawing;
  pen.font = `10px ${font}`;
  pen.fillStyle = scene.paint.quiet;
  let free = -Infinity;
  for (const mark of marks) {
    const at = x(scene, mark.time);
    const half = pen.measureText(mark.text).width / 2;
    const left = Math.max(
      scene.left,
      Math.min(at - half, scene.left + scene.width - 2 * half - 1)
    );
    if (left > free && at >= scene.left) {
      pen.fillText(mark.text, left, RULER / 2);
      free = left + 2 * half + 8;
    }
  }
}

/** How many wait to start, over time: high is where workers are short. */
function drawWaiting(
  pen: CanvasRenderingContext2D,
  drawing: Drawing,
  waiting: Float64Array
): void {
  const { scene, font } = drawing;
  const base = RULER + QUEUE - 4;
  const room = QUEUE - 8;
  const most = waiting.reduce((a, b) => Math.max(a, b), 0);
  pen.fillStyle = scene.paint.quiet;
  if (most > 0) {
    const step = scene.width / waiting.length;
    pen.globalAlpha = 0.35;
    pen.beginPath();
    pen.moveTo(scene.left, base);
    waiting.forEach((value, k) => {
      const y = base - (value > 0 ? 1.5 + (room * value) / most : 0);
      pen.lineTo(scene.left + k * step, y);
      pen.lineTo(scene.left + (k + 1) * step, y);
    });
    pen.lineTo(scene.left + scene.width, base);
    pen.fill();
    pen.globalAlpha = 1;
  }
  pen.font = `10px ${font}`;
  if (drawing.wide) {
    pen.fillText(fit(pen, drawing.waitingText, scene.left - 10), 0, base - 7);
  } else {
    halo(pen, drawing, drawing.waitingText, 1, base - 7);
  }
}

/** Text over a drawing, legible on whatever is below. */
function halo(
  pen: CanvasRenderingContext2D,
  drawing: Drawing,
  text: string,
  left: number,
  y: number
): void {
  pen.lineWidth = 3;
  pen.lineJoin = 'round';
  pen.strokeStyle = css(drawing.scene.paint.background);
  pen.strokeText(text, left, y);
  pen.fillText(text, left, y);
}

function drawNames(pen: CanvasRenderingContext2D, drawing: Drawing): void {
  const { scene, font, wide } = drawing;
  pen.font = wide ? `11px ${font}` : `10px ${font}`;
  pen.fillStyle = wide ? scene.paint.text : scene.paint.quiet;
  const bottom = scene.scroll + drawing.height;
  for (const { lane, name, top, height } of scene.layout.placed) {
    if (top + height < scene.scroll || top > bottom) {
      continue;
    }
    const more = lane.hidden > 0 ? ` (+${lane.hidden})` : '';
    if (wide) {
      pen.fillText(fit(pen, name + more, scene.left - 10), 0, top + height / 2);
    } else {
      pen.fillText(fit(pen, name + more, scene.width), 1, top + 7);
    }
  }
}

const widths = new Map<string, number>();

/** As much of a text as fits. */
function fit(pen: CanvasRenderingContext2D, text: string, room: number): string {
  const measured = (part: string): number => {
    const key = `${pen.font}|${part}`;
    let width = widths.get(key);
    if (width === undefined) {
      width = pen.measureText(part).width;
      if (widths.size > 2_000) {
        widths.clear();
      }
      widths.set(key, width);
    }
    return width;
  };
  if (measured(text) <= room) {
    return text;
  }
  let length = Math.max(0, Math.floor((text.length * room) / measured(text)));
  while (length > 0 && measured(`${text.slice(0, length)}…`) > room) {
    length -= 1;
  }
  return length > 1 ? `${text.slice(0, length)}…` : '';
}

/** The names of functions, in spans that are wide enough. */
function drawTexts(pen: CanvasRenderingContext2D, drawing: Drawing): void {
  const { scene, feed, font } = drawing;
  const { spans, view, paint } = scene;
  const perSecond = scene.width / (view.end - view.begin);
  pen.font = `10px ${font}`;
  let left = LABELS;
  for (const placed of scene.layout.placed) {
    if (placed.top > scene.scroll + drawing.height || placed.rowHeight < 9) {
      continue;
    }
    if (placed.top + placed.height < scene.scroll) {
      continue;
    }
    placed.lane.rows.forEach((row, number) => {
      // Only long ones can have a text; of crowded rows none are looked at.
      const first = row.endingAfter(spans, view.begin);
      const next = row.startingFrom(spans, view.end, first);
      if (next - first > scene.width / 4) {
        return;
      }
      eachBlock(spans, row, view.begin, perSecond, scene.width, block => {
        const begin = Math.max(0, block.left) + 4;
        const room = Math.min(scene.width, block.right) - begin - 3;
        const dull = scene.lit !== null && !scene.lit(block.span);
        if (left > 0 && room > 22 && block.count === 1 && !dull) {
          const text = fit(pen, functionName(feed, spans.group[block.span]), room);
          const failed = block.failed > 0;
          pen.fillStyle = failed
            ? '#111111'
            : paint.ink[scene.slots.get(spans.group[block.span])];
          pen.fillText(
            text,
            scene.left + begin,
            placed.rows + number * placed.pitch + placed.rowHeight / 2 + 0.5
          );
          left -= 1;
        }
      });
    });
  }
}

/** Lines from each step of the critical path to the next. */
function drawLinks(pen: CanvasRenderingContext2D, drawing: Drawing): void {
  const { scene } = drawing;
  const { path, lanes } = scene;
  if (!path) {
    return;
  }
  pen.strokeStyle = scene.paint.text;
  pen.globalAlpha = 0.75;
  pen.lineWidth = 1.2;
  pen.beginPath();
  let drawn = 0;
  let before = -Infinity;
  for (let n = 1; n < path.steps.length && drawn < LINKS; n += 1) {
    const [a, b] = [path.steps[n - 1], path.steps[n]];
    if (b.from < scene.view.begin || a.to > scene.view.end || a.span === b.span) {
      continue;
    }
    if (lanes.row[a.span] === HIDDEN || lanes.row[b.span] === HIDDEN) {
      continue;
    }
    const from = boxOf(scene, a.span);
    const to = boxOf(scene, b.span);
    const [left, right] = [x(scene, a.to), x(scene, b.from)];
    if (!from || !to || (from.top === to.top && right - left < 1) || right - before < 2) {
      continue;
    }
    pen.moveTo(left, from.top + from.height / 2);
    pen.lineTo(right, to.top + to.height / 2);
    before = right;
    drawn += 1;
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

/** A frame around a span, and a line from its submission to its start. */
function outline(
  pen: CanvasRenderingContext2D,
  drawing: Drawing,
  span: number,
  colour: string,
  thick: number
): void {
  const { scene } = drawing;
  const { spans } = scene;
  const box = span >= 0 && span < spans.count ? boxOf(scene, span) : null;
  if (!box) {
    return;
  }
  const left = x(scene, spans.start[span]);
  const right = Math.max(left + 3, x(scene, spans.end[span]));
  const middle = box.top + box.height / 2;
  const submitted = x(scene, spans.submitted(span));
  pen.strokeStyle = colour;
  if (left - submitted > 2) {
    pen.lineWidth = 1.5;
    pen.setLineDash([3, 2]);
    pen.beginPath();
    pen.moveTo(submitted, middle);
    pen.lineTo(left, middle);
    pen.stroke();
    pen.setLineDash([]);
    pen.beginPath();
    pen.moveTo(submitted, box.top + 1);
    pen.lineTo(submitted, box.top + box.height - 1);
    pen.stroke();
  }
  pen.lineWidth = thick;
  pen.strokeRect(left - 0.5, box.top - 0.5, right - left + 1, box.height + 1);
}
