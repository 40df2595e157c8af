/** The titles of a table: click or Enter sorts; drag, or Shift with an arrow, resizes. */
import { useRef, type KeyboardEvent, type PointerEvent } from 'react';
import { trans } from '../../i18n';
import { clampSize, nextSort, type Column, type Sizes, type Sort } from './model';

const KEY_STEP = 16; // pixels

export interface HeadProps<R> {
  columns: readonly Column<R>[];
  sort: Sort;
  sizes: Sizes;
  onSort: (sort: Sort) => void;
  onSize: (sizes: Sizes) => void;
}

export function Head<R>({ columns, sort, sizes, onSort, onSize }: HeadProps<R>) {
  const resize = (id: string, size: number | null): void => {
    const next: Record<string, number> = { ...sizes };
    if (size === null) {
      delete next[id];
    } else {
      next[id] = clampSize(size);
    }
    onSize(next);
  };
  return (
    <div className="fl-Table-head" role="rowgroup">
      <div className="fl-Table-titles" role="row" aria-rowindex={1}>
        {columns.map((column, i) => (
          <Title
            key={column.id}
            column={column}
            index={i}
            last={i === columns.length - 1}
            sort={sort}
            onSort={onSort}
            onSize={resize}
          />
        ))}
      </div>
    </div>
  );
}

interface TitleProps<R> {
  column: Column<R>;
  index: number;
  last: boolean;
  sort: Sort;
  onSort: (sort: Sort) => void;
  onSize: (id: string, size: number | null) => void;
}

function Title<R>({ column, index, last, sort, onSort, onSize }: TitleProps<R>) {
  const cell = useRef<HTMLDivElement>(null);
  const drag = useRef<{ x: number; width: number } | null>(null);
  const by = sort.column === column.id;
  const width = (): number => cell.current?.getBoundingClientRect().width ?? column.width;
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowLeft: -KEY_STEP, ArrowRight: KEY_STEP }[event.key];
    if (event.shiftKey && step !== undefined) {
      event.preventDefault();
      onSize(column.id, width() + step);
    }
  };
  const onMove = (event: PointerEvent): void => {
    if (drag.current) {
      onSize(column.id, drag.current.width + event.clientX - drag.current.x);
    }
  };
  return (
    <div
      ref={cell}
      role="columnheader"
      aria-colindex={index + 1}
      aria-sort={by ? (sort.down ? 'descending' : 'ascending') : 'none'}
      className={`fl-Table-title ${column.align === 'end' ? 'fl-Table-end' : ''}`}
    >
      <button
        type="button"
        title={[column.hint ?? column.title, trans.__('Click to sort; Shift+← → resizes')].join(
          '\n'
        )}
        onClick={() => onSort(nextSort(sort, column))}
        onKeyDown={onKey}
      >
        <span>{column.title}</span>
        {by && (
          <i className={`fl-Sorted ${sort.down ? 'fl-Sorted-down' : ''}`} aria-hidden="true" />
        )}
      </button>
      {!last && (
        <span
          className="fl-Table-grip"
          aria-hidden="true"
          onPointerDown={event => {
            event.preventDefault();
            event.currentTarget.setPointerCapture(event.pointerId);
            drag.current = { x: event.clientX, width: width() };
          }}
          onPointerMove={onMove}
          onPointerUp={() => (drag.current = null)}
          onPointerCancel={() => (drag.current = null)}
          onDoubleClick={() => onSize(column.id, null)}
        />
      )}
    </div>
  );
}
