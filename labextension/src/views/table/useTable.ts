/** What a person did to a table (sort, filter, widths), kept while its section is folded away. */
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import {
  facetCounts,
  inOrder,
  matching,
  sorted,
  type Column,
  type Facet,
  type Sizes,
  type Sort
} from './model';

export interface TableState {
  sort: Sort;
  sizes: Sizes;
  filter: string;
  /** The one value of the facet that is shown; "" shows all. */
  facet: string;
}

const remembered = new Map<string, TableState>();

export function useTableState(
  id: string,
  sort: Sort
): [TableState, (change: Partial<TableState>) => void] {
  const [state, setState] = useState<TableState>(
    () => remembered.get(id) ?? { sort, sizes: {}, filter: '', facet: '' }
  );
  useEffect(() => void remembered.set(id, state), [id, state]);
  const change = useCallback(
    (part: Partial<TableState>) => setState(old => ({ ...old, ...part })),
    []
  );
  return [state, change];
}

export interface Shown<R> {
  rows: readonly R[];
  counts: Map<string, number> | null;
  /** Whether the order is to stay as it is. */
  hold: (on: boolean) => void;
}

/** The rows that are left after filtering, in order. */
export function useShown<R>(
  rows: readonly R[],
  columns: readonly Column<R>[],
  rowKey: (row: R) => string,
  state: TableState,
  facet: Facet<R> | undefined
): Shown<R> {
  const { sort, filter, facet: only } = state;
  const [held, hold] = useState(false);
  const before = useRef<{ sort: Sort; keys: string[] }>({ sort, keys: [] });
  const found = useMemo(() => matching(rows, columns, filter), [rows, columns, filter]);
  const counts = useMemo(() => (facet ? facetCounts(found, facet) : null), [found, facet]);
  const wanted = useMemo(() => {
    const some = facet && only ? found.filter(row => facet.value(row) === only) : found;
    return sorted(some, columns, sort);
  }, [found, columns, sort, facet, only]);
  const shown =
    held && before.current.sort === sort
      ? inOrder(wanted, before.current.keys, rowKey)
      : wanted;
  useEffect(() => {
    before.current = { sort, keys: held ? shown.map(rowKey) : [] };
  });
  return { rows: shown, counts, hold };
}
