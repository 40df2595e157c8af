/**
 * Level of detail: the spans of a row as blocks that can be seen. A span wider than a pixel is a block;
 * shorter ones that begin in the same pixel are one together. The work depends on the pixels, hardly
 * on the number of spans, thanks to the row's running sums.
 */
import type { Row } from './lanes';
import type { Spans } from './spans';

export const NARROWEST = 1.5; // pixels that a span needs for a block of its own
const SAMPLES = 12; // spans that decide on the colour of a merged block

export interface Block {
  /** Pixels from the left edge; may be outside of what is visible. */
  left: number;
  right: number;
  /** The only span, or one of the function that took most time. */
  span: number;
  count: number;
  /** Share of the block in which something ran. */
  busy: number;
  failed: number;
  /** Its spans are these of the row, `to` excluded. */
  from: number;
  to: number;
}

/** Calls `emit` with one object again and again: copy what is to be kept. */
export function eachBlock(
  spans: Spans,
  row: Row,
  begin: number,
  perSecond: number,
  width: number,
  emit: (block: Block) => void
): void {
  const end = begin + width / perSecond;
  const shortest = NARROWEST / perSecond;
  const pixel = 1 / perSecond;
  const block: Block = {
    left: 0,
    right: 0,
    span: 0,
    count: 0,
    busy: 0,
    failed: 0,
    from: 0,
    to: 0
  };
  const { at } = row;
  let k = row.endingAfter(spans, begin);
  while (k < row.count) {
    const i = at[k];
    const from = spans.start[i];
    if (from >= end) {
      return;
    }
    const to = spans.end[i];
    block.span = i;
    block.from = k;
    block.to = k + 1;
    block.left = (from - begin) * perSecond;
    if (to - from >= shortest) {
      block.right = (to - begin) * perSecond;
      block.count = 1;
      block.busy = 1;
      block.failed = row.failed[k + 1] - row.failed[k];
      emit(block);
      k += 1;
      continue;
    }
    const column = Math.floor(block.left);
    const edge = begin + (column + 1) * pixel;
    let next = Math.max(k + 1, row.startingFrom(spans, edge, k + 1));
    // The last one may begin here and be long: it gets a block of its own.
    if (next - k > 1 && spans.end[at[next - 1]] - spans.start[at[next - 1]] >= shortest) {
      next -= 1;
    }
    block.count = next - k;
    block.to = next;
    block.left = column;
    block.right = column + 1;
    block.busy = Math.min(1, (row.busy[next] - row.busy[k]) * perSecond);
    block.failed = row.failed[next] - row.failed[k];
    block.span = block.count === 1 ? i : loudest(spans, row, k, next);
    emit(block);
    k = next;
  }
}

/** A span of the function that takes most of the time between two spans of a row. */
function loudest(spans: Spans, row: Row, from: number, to: number): number {
  const step = Math.max(1, Math.floor((to - from) / SAMPLES));
  const sums = new Map<number, number>();
  let best = row.at[from];
  let most = -1;
  for (let k = from; k < to; k += step) {
    const i = row.at[k];
    const sum = (sums.get(spans.group[i]) ?? 0) + (spans.end[i] - spans.start[i]);
    sums.set(spans.group[i], sum);
    if (sum > most) {
      most = sum;
      best = i;
    }
  }
  return best;
}

/** The span of a row at a time; of those that are short, the nearest within `slack` seconds; -1. */
export function spanAt(spans: Spans, row: Row, time: number, slack: number): number {
  const k = row.endingAfter(spans, time);
  let best = -1;
  let nearest = slack;
  for (const n of [k - 1, k]) {
    if (n >= 0 && n < row.count) {
      const i = row.at[n];
      const away = Math.max(spans.start[i] - time, time - spans.end[i], 0);
      if (away <= nearest) {
        nearest = away;
        best = i;
      }
    }
  }
  return best;
}
