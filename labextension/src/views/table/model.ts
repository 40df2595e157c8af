/** What a table shows and in which order: columns, filter, sort, widths. Pure; no DOM. */
import type { ReactNode } from 'react';

export type Value = number | string | null;

export interface Column<R> {
  id: string;
  title: string;
  /** What rows are sorted by; null (nothing known) always comes last. */
  value: (row: R) => Value;
  /** What the filter looks through; the value itself when it is not given. */
  text?: (row: R) => string;
  /** What is drawn; the text when it is not given. `active`: the keyboard is on this row. */
  cell?: (row: R, active: boolean) => ReactNode;
  /** Pixels, at first. */
  width: number;
  /** Share of the room that is left over. */
  grow?: number;
  /** Drawn only where the table is at least this wide, in pixels. */
  from?: number;
  align?: 'end';
  /** The first click puts the largest on top. */
  downFirst?: boolean;
  /** Explains the column where the title is too short for that. */
  hint?: string;
}

export interface Sort {
  column: string;
  down: boolean;
}

export type Sizes = Readonly<Record<string, number>>;

export const NARROWEST = 28;
export const WIDEST = 1200;
const ROW_PADDING = 12; // as in tables.css, both sides

/** The columns for which there is room; the first one always. */
export function fitting<R>(columns: readonly Column<R>[], width: number): Column<R>[] {
  return columns.filter((column, i) => i === 0 || width === 0 || (column.from ?? 0) <= width);
}

/** The tracks of a CSS grid: what was resized keeps its size, the others share what is left. */
export function tracks<R>(columns: readonly Column<R>[], sizes: Sizes): string {
  // One at least has to take up the rest, or rows would end before the table does.
  const elastic = columns.some(c => c.grow && sizes[c.id] === undefined);
  return columns
    .map((column, i) => {
      const size = sizes[column.id];
      if (size !== undefined && (elastic || i < columns.length - 1)) {
        return `${size}px`;
      }
      const least = size ?? column.width;
      return column.grow || (!elastic && i === columns.length - 1)
        ? `minmax(${least}px, ${column.grow ?? 1}fr)`
        : `${least}px`;
    })
    .join(' ');
}

/** The least width of a row, in pixels; a narrower table scrolls sideways. */
export function leastWidth<R>(columns: readonly Column<R>[], sizes: Sizes): number {
  return columns.reduce((sum, column) => sum + (sizes[column.id] ?? column.width), ROW_PADDING);
}

export function clampSize(size: number): number {
  return Math.round(Math.min(WIDEST, Math.max(NARROWEST, size)));
}

/** What a click on a column's title does: its own first order, then the other one. */
export function nextSort<R>(sort: Sort, column: Column<R>): Sort {
  return sort.column === column.id
    ? { column: column.id, down: !sort.down }
    : { column: column.id, down: column.downFirst === true };
}

export function textOf<R>(column: Column<R>, row: R): string {
  if (column.text) {
    return column.text(row);
  }
  const value = column.value(row);
  return value === null ? '' : String(value);
}

/** Rows that hold every word of the text in some column, whatever the case. */
export function matching<R>(
  rows: readonly R[],
  columns: readonly Column<R>[],
  text: string
): readonly R[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) {
    return rows;
  }
  return rows.filter(row => {
    // Columns are told apart, so that no word is found across two of them.
    const all = columns
      .map(column => textOf(column, row))
      .join('\n')
      .toLowerCase();
    return words.every(word => all.includes(word));
  });
}

/** Sorted by one column; equal rows, and those without a value, keep the order they came in. */
export function sorted<R>(
  rows: readonly R[],
  columns: readonly Column<R>[],
  sort: Sort
): readonly R[] {
  const column = columns.find(c => c.id === sort.column);
  if (!column) {
    return rows;
  }
  const values = rows.map(column.value); // asked for once, not once a comparison
  const sign = sort.down ? -1 : 1;
  const order = [...rows.keys()].sort((i, j) => {
    const a = values[i]!;
    const b = values[j]!;
    if (a === null || b === null) {
      return a === b ? i - j : a === null ? 1 : -1;
    }
    return sign * compare(a, b) || i - j;
  });
  return order.map(i => rows[i]!);
}

const WORDS = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });

function compare(a: number | string, b: number | string): number {
  if (typeof a === 'number' && typeof b === 'number') {
    return a < b ? -1 : a > b ? 1 : 0;
  }
  return WORDS.compare(String(a), String(b));
}

/**
 * The rows in the order in which they stood; what is new comes last. While somebody points at a
 * table nothing may move under the pointer.
 */
export function inOrder<R>(
  rows: readonly R[],
  before: readonly string[],
  key: (row: R) => string
): readonly R[] {
  const found = new Map(rows.map(row => [key(row), row]));
  const kept: R[] = [];
  for (const id of before) {
    const row = found.get(id);
    if (row !== undefined) {
      kept.push(row);
      found.delete(id);
    }
  }
  return [...kept, ...found.values()];
}

export interface Facet<R> {
  title: string;
  value: (row: R) => string;
  label: (value: string) => string;
  /** The order of the values; others follow in the order in which they are met. */
  order?: readonly string[];
}

/** How many rows there are of each value. */
export function facetCounts<R>(rows: readonly R[], facet: Facet<R>): Map<string, number> {
  const counts = new Map<string, number>((facet.order ?? []).map(value => [value, 0]));
  for (const row of rows) {
    const value = facet.value(row);
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  for (const [value, n] of counts) {
    if (n === 0) {
      counts.delete(value);
    }
  }
  return counts;
}
