/** One table for all lists: draws the rows in view only; sorts, filters, resizes; a grid to keyboards. */
import {
  memo,
  useCallback,
  useEffect,
  useId,
  useMemo,
  useRef,
  useState,
  type CSSProperties,
  type KeyboardEvent,
  type ReactNode
} from 'react';
import { count } from '../../format';
import { trans } from '../../i18n';
import { Head } from './head';
import {
  fitting,
  leastWidth,
  textOf,
  tracks,
  type Column,
  type Facet,
  type Sort
} from './model';
import { useShown, useTableState } from './useTable';
import { useWindow } from './useWindow';
import { moved, scrollFor } from './window';

export const ROW_HEIGHT = 26;
/** Fewer rows than this are seen at a glance, and need no tools. */
const TOOLS_FROM = 9;
const LONGEST_TEXT = 300;
const LINES = 12;

export interface TableProps<R> {
  /** Unique among all tables: what was sorted and resized is remembered under it. */
  id: string;
  /** What the rows are, for screen readers. */
  label: string;
  rows: readonly R[];
  /** Stable while nothing changes: rows are sorted and filtered anew when it does. */
  columns: readonly Column<R>[];
  rowKey: (row: R) => string;
  /** At first. */
  sort: Sort;
  facet?: Facet<R>;
  selected?: string;
  onRow?: (row: R) => void;
  /** Classes of a row. */
  rowClass?: (row: R) => string;
  /** Rows in view before the table scrolls; alone on a page it takes the room that there is. */
  lines?: number;
  /** Beside the filter. */
  tools?: ReactNode;
}

export function Table<R>(props: TableProps<R>) {
  const { rows, rowKey, facet } = props;
  const base = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const [state, change] = useTableState(props.id, props.sort);
  const shown = useShown(rows, props.columns, rowKey, state, facet);
  const n = shown.rows.length;
  const view = useWindow(scroller, n, ROW_HEIGHT, ROW_HEIGHT);
  const [cursor, setCursor] = useState('');
  const columns = useMemo(
    () => fitting(props.columns, view.width),
    [props.columns, view.width]
  );
  const narrowed = state.filter !== '' || state.facet !== '';
  const at = cursor === '' ? -1 : shown.rows.findIndex(row => rowKey(row) === cursor);

  // Rows are drawn anew when they change, not whenever the table is told the same again.
  const onRow = useRef(props.onRow);
  useEffect(() => {
    onRow.current = props.onRow;
  });
  const choose = useCallback(
    (row: R) => {
      setCursor(rowKey(row));
      onRow.current?.(row);
    },
    [rowKey]
  );

  const go = (to: number): void => {
    const row = shown.rows[to];
    const box = scroller.current;
    if (row !== undefined && box) {
      setCursor(rowKey(row));
      const room = box.clientHeight - ROW_HEIGHT; // below the titles
      box.scrollTop = scrollFor(to, box.scrollTop, room, ROW_HEIGHT);
    }
  };
  const onKey = (event: KeyboardEvent<HTMLDivElement>): void => {
    const target = event.target as HTMLElement;
    if (target.closest('.fl-Table-head') || event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const page = Math.max(
      1,
      Math.floor((scroller.current?.clientHeight ?? 0) / ROW_HEIGHT) - 2
    );
    const to = moved(event.key, at, n, page);
    if (to !== null && n > 0) {
      event.preventDefault();
      scroller.current?.focus({ preventScroll: true }); // a button in a row may go with its row
      go(to);
    } else if (
      (event.key === 'Enter' || event.key === ' ') &&
      target === event.currentTarget &&
      at >= 0
    ) {
      event.preventDefault();
      props.onRow?.(shown.rows[at]!);
    }
  };
  const onFocus = (): void => {
    if (at < 0 && n > 0) {
      const chosen = shown.rows.findIndex(row => rowKey(row) === props.selected);
      setCursor(rowKey(shown.rows[Math.max(0, chosen)]!));
    }
  };
  const drawn = shown.rows.slice(view.rows.first, view.rows.end);
  const seen = at >= view.rows.first && at < view.rows.end;
  const style: CSSProperties & Record<string, string | number> = {
    '--fl-columns': tracks(columns, state.sizes),
    '--fl-least': `${leastWidth(columns, state.sizes)}px`,
    '--fl-lines': props.lines ?? LINES
  };
  return (
    <div className="fl-Table" style={style}>
      {(narrowed || rows.length >= TOOLS_FROM || props.tools) && (
        <Tools
          {...props}
          total={rows.length}
          found={n}
          state={state}
          counts={shown.counts}
          onChange={change}
        />
      )}
      <div
        ref={scroller}
        className="fl-Table-scroll"
        role="grid"
        tabIndex={0}
        aria-label={props.label}
        aria-rowcount={n + 1}
        aria-colcount={columns.length}
        aria-activedescendant={seen ? `${base}${at}` : undefined}
        onKeyDown={onKey}
        onFocus={event => event.target === event.currentTarget && onFocus()}
        onScroll={view.onScroll}
        onPointerEnter={() => shown.hold(true)}
        onPointerLeave={() => shown.hold(false)}
      >
        <Head
          columns={columns}
          sort={state.sort}
          sizes={state.sizes}
          onSort={sort => change({ sort })}
          onSize={sizes => change({ sizes })}
        />
        <div className="fl-Table-body" role="rowgroup" style={{ height: n * ROW_HEIGHT }}>
          {drawn.map((row, i) => {
            const index = view.rows.first + i;
            const key = rowKey(row);
            return (
              <Row
                key={key}
                id={`${base}${index}`}
                row={row}
                index={index}
                columns={columns}
                active={index === at}
                selected={key === props.selected}
                className={props.rowClass?.(row) ?? ''}
                onRow={props.onRow && choose}
              />
            );
          })}
        </div>
        {n === 0 && (
          <p className="fl-Table-none">
            {trans.__('Nothing matches.')}{' '}
            <button
              type="button"
              className="fl-Link"
              onClick={() => change({ filter: '', facet: '' })}
            >
              {trans.__('Show all')}
            </button>
          </p>
        )}
      </div>
    </div>
  );
}

interface RowProps<R> {
  id: string;
  row: R;
  index: number;
  columns: readonly Column<R>[];
  active: boolean;
  selected: boolean;
  className: string;
  onRow: ((row: R) => void) | undefined;
}

function RowView<R>({
  id,
  row,
  index,
  columns,
  active,
  selected,
  className,
  onRow
}: RowProps<R>) {
  return (
    <div
      id={id}
      className={`fl-Table-row ${active ? 'fl-Table-cursor' : ''} ${className}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={onRow ? selected : undefined}
      style={{ transform: `translateY(${index * ROW_HEIGHT}px)` }}
      onClick={onRow && (() => onRow(row))}
    >
      {columns.map((column, i) => {
        const text = textOf(column, row).slice(0, LONGEST_TEXT);
        return (
          <span
            key={column.id}
            role="gridcell"
            aria-colindex={i + 1}
            className={`fl-Table-cell ${column.align === 'end' ? 'fl-Table-end' : ''}`}
            title={text}
          >
            {column.cell ? column.cell(row, active) : text}
          </span>
        );
      })}
    </div>
  );
}

const Row = memo(RowView) as typeof RowView;

interface ToolsProps<R> extends TableProps<R> {
  total: number;
  found: number;
  state: ReturnType<typeof useTableState>[0];
  counts: Map<string, number> | null;
  onChange: ReturnType<typeof useTableState>[1];
}

function Tools<R>(props: ToolsProps<R>) {
  const { state, facet, counts, onChange, total, found } = props;
  // Said once after each change of the filter, not whenever a row comes.
  const [said, setSaid] = useState('');
  const narrowed = `${state.filter}\n${state.facet}`;
  const first = useRef(narrowed);
  useEffect(() => {
    if (first.current !== narrowed) {
      setSaid(trans.__('%1 of %2 rows', count(found), count(total)));
    }
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [narrowed]);
  const values = new Map(counts ?? []);
  if (state.facet !== '' && !values.has(state.facet)) {
    values.set(state.facet, 0); // chosen, and the last of its kind has gone
  }
  return (
    <div className="fl-Table-tools">
      <input
        type="search"
        className="fl-Input"
        value={state.filter}
        placeholder={trans.__('Filter')}
        aria-label={trans.__('Filter: %1', props.label)}
        spellCheck={false}
        onChange={event => onChange({ filter: event.target.value })}
        onKeyDown={event => {
          if (event.key === 'Escape' && state.filter !== '') {
            event.stopPropagation();
            onChange({ filter: '' });
          }
        }}
      />
      {facet && (values.size > 1 || state.facet !== '') && (
        <span className="fl-Facets" role="group" aria-label={facet.title}>
          {[...values].map(([value, n]) => (
            <button
              key={value}
              type="button"
              className="fl-Facet"
              aria-pressed={state.facet === value}
              onClick={() => onChange({ facet: state.facet === value ? '' : value })}
            >
              {facet.label(value)} <span>{count(n)}</span>
            </button>
          ))}
        </span>
      )}
      {props.tools}
      {(state.filter !== '' || state.facet !== '') && (
        <small className="fl-Table-count">
          {trans.__('%1 of %2', count(found), count(total))}
        </small>
      )}
      <span className="fl-Unseen" role="status">
        {said}
      </span>
    </div>
  );
}
