/**
 * Where the tasks of a group stand: squares in a grid that grows and never moves.
 *
 * Columns fill from top to bottom, then to the right. By order, the rank of its submission gives a
 * task's place, so that new tasks append. By depth and by time, each depth (or stretch of time) has a
 * band of columns of its own, and grows downwards in it. How many rows or columns there are is chosen
 * once (`shapeFor`) and again only when there are four times as many tasks, or on demand.
 */

export const PITCH = 12; // world pixels from one task to the next
export const CELL = 10; // of which the square takes

export type Arrangement = 'order' | 'depth' | 'time';

/** What a grid was laid out for. */
export interface Shape {
  by: Arrangement;
  /** Rows of the grid, where columns fill downwards. */
  rows: number;
  /** Columns of each band, where bands grow downwards. */
  band: number;
  /** The tasks it was chosen for. */
  chosen: number;
  /** By time: seconds of one band, and when the first begins. */
  step: number;
  origin: number;
}

/** What a place depends on; of each task one entry, in the order of submission. */
export interface Known {
  count: number;
  depth: ArrayLike<number>;
  submitted: ArrayLike<number>;
}

export interface Grid {
  shape: Shape;
  /** Column and row of each task. */
  columns: Int32Array;
  rows: Int32Array;
  /** How far the grid reaches. */
  width: number;
  height: number;
  /** Task by `column * height + row`, -1 where there is none. */
  at: Int32Array;
  /** By depth and time: how many bands there are. */
  bands: number;
}

const LEAST_ROWS = 2;
const MOST_BANDS = 400;
const NICE = [1, 2, 5];

/** A shape for so many tasks in a view of this form; `aspect` is its width over its height. */
export function shapeFor(by: Arrangement, known: Known, aspect: number): Shape {
  const n = Math.max(1, known.count);
  const wide = Math.max(0.2, Math.min(6, aspect));
  const shape: Shape = {
    by,
    rows: Math.max(LEAST_ROWS, Math.ceil(Math.sqrt(n / wide))),
    band: 1,
    chosen: n,
    step: 1,
    origin: 0
  };
  if (by === 'order') {
    return shape;
  }
  let bands: number;
  if (by === 'time') {
    shape.origin = known.count ? least(known.submitted, known.count) : 0;
    const span = known.count ? most(known.submitted, known.count) - shape.origin : 0;
    shape.step = niceStep(span, Math.max(4, Math.min(60, Math.round(Math.sqrt(n * wide) / 2))));
    bands = Math.floor(span / shape.step) + 1;
  } else {
    bands = (known.count ? most(known.depth, known.count) : 0) + 1;
  }
  // The fullest band decides about the height.
  const fullest = Math.max(1, ...sizes(known, shape).values());
  const columns = Math.sqrt(n * wide);
  shape.band = Math.max(
    1,
    Math.min(Math.round(columns / bands), Math.ceil(Math.sqrt((fullest * wide) / bands)))
  );
  return shape;
}

/** Whether the shape is out of proportion now, so that a new one is worth that tasks move. */
export function outgrown(shape: Shape, count: number): boolean {
  return count > 4 * shape.chosen;
}

export function arrange(known: Known, shape: Shape): Grid {
  const n = known.count;
  const columns = new Int32Array(n);
  const rows = new Int32Array(n);
  let bands = 0;
  if (shape.by === 'order') {
    for (let i = 0; i < n; i++) {
      columns[i] = Math.floor(i / shape.rows);
      rows[i] = i % shape.rows;
    }
  } else {
    const filled: number[] = [];
    // Bands are one column apart, unless there are so many that this would be most of the picture.
    const gap = shape.band > 1 ? 1 : 0;
    for (let i = 0; i < n; i++) {
      const band = bandOf(known, shape, i);
      const rank = filled[band] ?? 0;
      filled[band] = rank + 1;
      columns[i] = band * (shape.band + gap) + (rank % shape.band);
      rows[i] = Math.floor(rank / shape.band);
      bands = Math.max(bands, band + 1);
    }
  }
  const width = n ? most(columns, n) + 1 : 0;
  const height = n ? most(rows, n) + 1 : 0;
  const at = new Int32Array(width * height).fill(-1);
  for (let i = 0; i < n; i++) {
    at[columns[i] * height + rows[i]] = i;
  }
  return { shape, columns, rows, width, height, at, bands };
}

/** The task under a point of the world; -1 for none. */
export function taskAt(grid: Grid, x: number, y: number): number {
  const column = Math.floor(x / PITCH);
  const row = Math.floor(y / PITCH);
  if (column < 0 || row < 0 || column >= grid.width || row >= grid.height) {
    return -1;
  }
  return grid.at[column * grid.height + row];
}

/** The next task from one in a direction, past gaps; the same one at the edge. */
export function neighbour(grid: Grid, index: number, dx: number, dy: number): number {
  let column = grid.columns[index] + dx;
  let row = grid.rows[index] + dy;
  while (column >= 0 && column < grid.width && row >= 0 && row < grid.height) {
    const found = grid.at[column * grid.height + row];
    if (found >= 0) {
      return found;
    }
    if (dx !== 0) {
      // A shorter column: its last task stands for the row.
      for (let up = row; up >= 0; up--) {
        if (grid.at[column * grid.height + up] >= 0) {
          return grid.at[column * grid.height + up];
        }
      }
    }
    column += dx;
    row += dy;
  }
  return index;
}

/** The first column of a band, for its label. */
export function bandColumn(shape: Shape, band: number): number {
  return band * (shape.band + (shape.band > 1 ? 1 : 0));
}

function bandOf(known: Known, shape: Shape, index: number): number {
  const band =
    shape.by === 'depth'
      ? known.depth[index]
      : Math.floor((known.submitted[index] - shape.origin) / shape.step);
  return Math.max(0, Math.min(MOST_BANDS - 1, band));
}

function sizes(known: Known, shape: Shape): Map<number, number> {
  const found = new Map<number, number>();
  for (let i = 0; i < known.count; i++) {
    const band = bandOf(known, shape, i);
    found.set(band, (found.get(band) ?? 0) + 1);
  }
  return found;
}

/** 1, 2 or 5 times a power of ten, so that `span` has about `parts` of it. */
function niceStep(span: number, parts: number): number {
  if (!(span > 0)) {
    return 1;
  }
  const power = 10 ** Math.floor(Math.log10(span / parts));
  return (NICE.find(n => n * power >= span / parts) ?? 10) * power;
}

function least(values: ArrayLike<number>, count: number): number {
  let found = values[0];
  for (let i = 1; i < count; i++) {
    found = Math.min(found, values[i]);
  }
  return found;
}

function most(values: ArrayLike<number>, count: number): number {
  let found = values[0];
  for (let i = 1; i < count; i++) {
    found = Math.max(found, values[i]);
  }
  return found;
}
