/** One stacked bar for each function, or for each cell with its functions. */
import { memo, useCallback, useMemo, useState, type ReactNode } from 'react';
import { count, duration, percent, rate } from '../format';
import { trans } from '../i18n';
import {
  STAGES,
  cellRows,
  progressRows,
  totals,
  type CellRow,
  type ProgressRow,
  type Stage
} from '../model/selectors';
import { CancelGroups } from '../views/cancel';
import { CellLink, cellName } from '../views/cell';
import { Choice } from '../views/choice';
import { useKept } from '../views/kept';
import { Empty, StackedBar, countsText } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';

const FIRST_ROWS = 9;
const WIDE_ROWS = 30;

type By = 'function' | 'cell';

export function Progress(props: SectionProps) {
  const { data, wide, onSelect, selection } = props;
  const [by, setBy] = useKept<By>('progress-by', 'function');
  const [all, setAll] = useState(false);
  const rows = useMemo(() => progressRows(data), [data]);
  const cells = useMemo(() => cellRows(rows), [rows]);
  const onGroup = useCallback((id: number) => onSelect({ kind: 'group', id }), [onSelect]);
  if (rows.length === 0) {
    return (
      <Empty>
        {trans.__('No tasks yet. They show up here as soon as a cell calls a remote function.')}
      </Empty>
    );
  }
  const perCell = by === 'cell';
  const n = perCell ? cells.length : rows.length;
  const first = wide ? WIDE_ROWS : FIRST_ROWS;
  const shown = all ? n : first;
  const chosen = selection?.kind === 'group' ? selection.id : null;
  const row = (own: ProgressRow) => (
    <Row
      key={own.group.id}
      row={own}
      note={noteText(own)}
      selected={own.group.id === chosen}
      onGroup={onGroup}
    />
  );
  return (
    <>
      <div className="fl-Progress-top">
        <Legend counts={totals(data).counts} />
        {rows.some(own => own.group.origin !== '') && (
          <Choice
            label={trans.__('Progress per')}
            value={by}
            options={[
              ['function', trans.__('Functions')],
              ['cell', trans.__('Cells')]
            ]}
            onChoose={setBy}
          />
        )}
      </div>
      <ul className="fl-Progress">
        {perCell
          ? cells.slice(0, shown).map(cell => (
              <Cell key={cell.origin} cell={cell} live={props.live} model={props.model}>
                {cell.rows.map(row)}
              </Cell>
            ))
          : rows.slice(0, shown).map(row)}
      </ul>
      {n > first && (
        <button type="button" className="fl-Link" onClick={() => setAll(!all)}>
          {all ? trans.__('Show fewer') : trans.__('Show %1 more', count(n - first))}
        </button>
      )}
    </>
  );
}

interface RowProps {
  row: ProgressRow;
  /** Told, so that a row is drawn anew only when it changes. */
  note: string;
  selected: boolean;
  onGroup: (id: number) => void;
}

const Row = memo(
  function Row({ row, note, selected, onGroup }: RowProps) {
    const { group, counts } = row;
    return (
      <li data-group={group.name} data-ended={row.ended} data-total={row.total}>
        <button
          type="button"
          className="fl-Progress-row"
          aria-pressed={selected}
          title={`${group.name}: ${countsText(counts)}`}
          onClick={() => onGroup(group.id)}
        >
          <span className="fl-Progress-name">{group.name}</span>
          <Note failed={counts.failed} text={note} />
          <span className="fl-Progress-count">
            {count(row.ended)}
            <small>/{count(row.total)}</small>
          </span>
          <StackedBar counts={counts} label={trans.__('%1: ended of all', group.name)} />
        </button>
      </li>
    );
  },
  (a, b) =>
    a.row.group === b.row.group &&
    a.note === b.note &&
    a.selected === b.selected &&
    a.onGroup === b.onGroup
);

interface CellProps {
  cell: CellRow;
  live: boolean;
  model: SectionProps['model'];
  children: ReactNode;
}

function Cell({ cell, model, live, children }: CellProps) {
  const [open, setOpen] = useKept(`progress-cell-${cell.origin}`, false);
  return (
    <li className="fl-Progress-cell" data-cell={cell.origin} data-ended={cell.ended}>
      <div className="fl-Progress-row">
        <span className="fl-Progress-name">
          <button
            type="button"
            className="fl-Progress-open"
            aria-expanded={open}
            onClick={() => setOpen(!open)}
          >
            <span className="fl-caret" aria-hidden="true" />
            <span className="fl-Unseen">{trans.__('Functions of this cell')}</span>
          </button>
          {cell.origin === '' ? (
            trans.__('not from a cell')
          ) : (
            <CellLink model={model} origin={cell.origin} />
          )}
        </span>
        <Note failed={cell.counts.failed} text={noteText(cell)} />
        <span className="fl-Progress-count">
          {count(cell.ended)}
          <small>/{count(cell.total)}</small>
        </span>
        <StackedBar counts={cell.counts} label={trans.__('Ended of all')} />
      </div>
      {open && (
        <div className="fl-Progress-inner">
          <CancelGroups
            source={model.source}
            live={live}
            groups={cell.rows.map(row => row.group.id)}
            counts={cell.counts}
            what={cellName(model, cell.origin)}
          />
          <ul className="fl-Progress">{children}</ul>
        </div>
      )}
    </li>
  );
}

/** "1.3 /s · 4 s left" while it works, "0.8 s each" afterwards. */
function noteText(row: Omit<ProgressRow, 'group'>): string {
  const { counts } = row;
  const parts: string[] = [];
  if (row.active) {
    parts.push(
      counts.running ? trans.__('%1 running', count(counts.running)) : trans.__('waiting')
    );
    if (row.rate !== null && row.rate > 0) {
      parts.push(rate(row.rate));
    }
    if (row.eta !== null) {
      parts.push(trans.__('%1 left', duration(row.eta)));
    }
  } else {
    if (counts.cancelled) {
      parts.push(trans.__('%1 cancelled', count(counts.cancelled)));
    }
    if (row.mean !== null && row.mean > 0) {
      parts.push(trans.__('%1 each', duration(row.mean)));
    }
  }
  return parts.join(' · ');
}

function Note({ failed, text }: { failed: number; text: string }) {
  return (
    <span className="fl-Progress-note">
      {failed > 0 && <b className="fl-bad">{trans.__('%1 failed', count(failed))}</b>}
      {failed > 0 && text !== '' && ' · '}
      {text}
    </span>
  );
}

const LEGEND: readonly Stage[] = ['done', 'running', 'pending', 'failed', 'cancelled'];

/** The colours, and how many tasks there are of each. */
function Legend({ counts }: { counts: ReturnType<typeof totals>['counts'] }) {
  const texts: Record<Stage, string> = {
    done: trans.__('%1 done', count(counts.done)),
    running: trans.__('%1 running', count(counts.running)),
    pending: trans.__('%1 pending', count(counts.pending)),
    failed: trans.__('%1 failed', count(counts.failed)),
    cancelled: trans.__('%1 cancelled', count(counts.cancelled))
  };
  return (
    <p className="fl-Legend">
      {LEGEND.filter(stage => counts[stage] > 0).map(stage => (
        <span key={stage}>
          <i className={`fl-fill-${stage}`} aria-hidden="true" />
          {texts[stage]}
        </span>
      ))}
    </p>
  );
}

export const progress: SectionSpec = {
  id: 'progress',
  title: () => trans.__('Progress'),
  summary: data => {
    const { counts } = totals(data);
    const all = STAGES.reduce((sum, stage) => sum + counts[stage], 0);
    const over = all - counts.pending - counts.running;
    return all === 0 ? '' : `${count(over)}/${count(all)} · ${percent(over / all)}`;
  },
  Body: Progress
};
