/** Which rows of a long list are drawn. Pure; all rows are equally high. */

export interface Window {
  first: number;
  /** One behind the last. */
  end: number;
}

/** Drawn beyond what is seen, so that scrolling meets rows that are there. */
export const OVERSCAN = 8;

/** The rows in view and a few around them, in steps: most scroll events change nothing. */
export function windowOf(top: number, height: number, rowHeight: number, n: number): Window {
  if (n === 0) {
    return { first: 0, end: 0 };
  }
  const from = Math.floor(Math.max(0, top) / rowHeight);
  const seen = Math.ceil(height / rowHeight) + 1;
  const step = Math.max(1, OVERSCAN >> 1);
  // A list that has become shorter is drawn from its end, until the browser has scrolled there.
  const first = Math.max(0, Math.min(from, n - seen) - OVERSCAN);
  const start = first - (first % step);
  return { first: start, end: Math.min(n, start + seen + 2 * OVERSCAN + step) };
}

/** Where to scroll so that a row is seen whole; the same place when it is. */
export function scrollFor(row: number, top: number, height: number, rowHeight: number): number {
  const begin = row * rowHeight;
  if (begin < top) {
    return begin;
  }
  return begin + rowHeight > top + height ? Math.max(0, begin + rowHeight - height) : top;
}

/** Where a key takes the cursor; null when the key is none of those. */
export function moved(key: string, at: number, n: number, page: number): number | null {
  const to = {
    ArrowDown: at + 1,
    ArrowUp: at - 1,
    PageDown: at + page,
    PageUp: at - page,
    Home: 0,
    End: n - 1
  }[key];
  return to === undefined ? null : Math.max(0, Math.min(n - 1, to));
}
