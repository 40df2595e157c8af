/** Where lanes stand: from top to bottom, in CSS pixels, in a narrow sidebar or with much room. Pure. */
import { laneName, type Lane, type Lanes, type Living, type Names } from './lanes';

export interface Placed {
  lane: Lane;
  name: string;
  /** From the top of the lanes. */
  top: number;
  height: number;
  /** Of its rows: the first one's top, each one's height, and from one to the next. */
  rows: number;
  rowHeight: number;
  pitch: number;
}

export interface Layout {
  placed: Placed[];
  /** By the number of the lane in `Lanes.all`. */
  byLane: Placed[];
  height: number;
}

const LABEL = 13; // of a label that stands above its lane

export function layoutOf(lanes: Lanes, names: Names, living: Living, wide: boolean): Layout {
  const placed: Placed[] = [];
  const byLane: Placed[] = [];
  let top = 2;
  for (const lane of lanes.sorted()) {
    const count = Math.max(1, lane.rows.length);
    const rowHeight = wide ? Math.max(5, [18, 11, 8][count - 1] ?? 6) : count > 1 ? 6 : 12;
    const pitch = rowHeight + 1;
    const rows = top + (wide ? 2 : LABEL);
    const height = rows - top + count * pitch + (wide ? 2 : 3);
    const one = {
      lane,
      name: laneName(lane, names, living),
      top,
      height,
      rows,
      rowHeight,
      pitch
    };
    placed.push(one);
    byLane[lane.order] = one;
    top += height;
  }
  return { placed, byLane, height: top + 2 };
}

/** The lane at a height, null between and beyond them. */
export function placedAt(layout: Layout, y: number): Placed | null {
  let [low, high] = [0, layout.placed.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const one = layout.placed[middle];
    if (y < one.top) {
      high = middle;
    } else if (y >= one.top + one.height) {
      low = middle + 1;
    } else {
      return one;
    }
  }
  return null;
}
