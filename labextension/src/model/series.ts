/** The object store's history as columns for the chart. Pure. */
import type { StoreView } from '../events';

export type Columns = Record<'time' | 'zero' | 'used' | 'pinned' | 'spilled', number[]>;

/** Bokeh's time axis shows UTC; people want their own time. */
export function localMilliseconds(time: number): number {
  const milliseconds = time * 1000;
  return milliseconds - new Date(milliseconds).getTimezoneOffset() * 60_000;
}

export function chartRows(store: readonly StoreView[]): Columns {
  return {
    time: store.map(s => localMilliseconds(s.time)),
    zero: store.map(() => 0),
    used: store.map(s => s.used),
    pinned: store.map(s => s.pinned),
    spilled: store.map(s => s.spilled)
  };
}

/** What came after `last` (seconds). */
export function newRows(store: readonly StoreView[], last: number): readonly StoreView[] {
  let first = store.length;
  while (first > 0 && store[first - 1].time > last) {
    first -= 1;
  }
  return store.slice(first);
}

/**
 * The top of the vertical axis: the peak with some room, so that small stores are not a flat line;
 * the capacity too as soon as the peak comes near it.
 */
export function ceiling(store: readonly StoreView[], capacity: number): number {
  const peak = store.reduce((most, s) => Math.max(most, s.used, s.spilled), 0);
  if (capacity > 0 && peak > capacity * 0.6) {
    return Math.max(capacity, peak) * 1.08;
  }
  return Math.max(peak * 1.25, 1e6);
}
