/** One stacked bar for each function. */
import { memo, useCallback, useMemo, useState, type ReactNode } from 'react';
import { count, duration, rate } from '../format';
import { trans } from '../i18n';
import { progressRows, total, totals, type ProgressRow } from '../model/selectors';
import type { Data } from '../model/state';
import { Empty, StackedBar, countsText } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';

const FIRST_ROWS = 9;

export interface ProgressProps {
  groups: Data['groups'];
  samples: Data['samples'];
  time: number;
  data: Data;
  onGroup: (id: number) => void;
}

export const Progress = memo(function Progress({ data, onGroup }: ProgressProps) {
  const [all, setAll] = useState(false);
  const rows = useMemo(() => progressRows(data), [data]);
  if (rows.length === 0) {
    return (
      <Empty>No tasks yet. They show up here as soon as a cell calls a remote function.</Empty>
    );
  }
  const shown = all ? rows : rows.slice(0, FIRST_ROWS);
  return (
    <>
      <ul className="fl-Progress">
        {shown.map(row => (
          <Row key={row.group.id} row={row} onGroup={onGroup} />
        ))}
      </ul>
      {rows.length > FIRST_ROWS && (
        <button type="button" className="fl-Link" onClick={() => setAll(!all)}>
          {all ? 'Show fewer' : `Show ${rows.length - FIRST_ROWS} more`}
        </button>
      )}
      <Legend />
    </>
  );
});

function Row({ row, onGroup }: { row: ProgressRow; onGroup: (id: number) => void }) {
  const { group, counts } = row;
  return (
    <li data-group={group.name} data-ended={row.ended} data-total={row.total}>
      <button
        type="button"
        className="fl-Progress-row"
        title={`${group.name}: ${countsText(counts)}`}
        onClick={() => onGroup(group.id)}
      >
        <span className="fl-Progress-name">{group.name}</span>
        <span className="fl-Progress-note">{note(row)}</span>
        <span className="fl-Progress-count">
          {count(row.ended)}
          <small>/{count(row.total)}</small>
        </span>
        <StackedBar counts={counts} label={`${group.name}: ended of all`} />
      </button>
    </li>
  );
}

/** "1.3 /s · 4 s left" while it works, "0.8 s each" afterwards; failures always. */
function note(row: ProgressRow): ReactNode {
  const { counts } = row;
  const parts: string[] = [];
  if (row.active) {
    parts.push(counts.running ? `${count(counts.running)} running` : 'waiting');
    if (row.rate !== null && row.rate > 0) {
      parts.push(rate(row.rate));
    }
    if (row.eta !== null) {
      parts.push(`${duration(row.eta)} left`);
    }
  } else {
    if (counts.cancelled) {
      parts.push(`${count(counts.cancelled)} cancelled`);
    }
    if (row.mean !== null) {
      parts.push(`${duration(row.mean)} each`);
    }
  }
  return (
    <>
      {counts.failed > 0 && <b className="fl-bad">{count(counts.failed)} failed</b>}
      {counts.failed > 0 && parts.length > 0 && ' · '}
      {parts.join(' · ')}
    </>
  );
}

function Legend() {
  return (
    <p className="fl-Legend" aria-hidden="true">
      {(['done', 'running', 'pending', 'failed', 'cancelled'] as const).map(stage => (
        <span key={stage}>
          <i className={`fl-fill-${stage}`} />
          {stage}
        </span>
      ))}
    </p>
  );
}

function Body({ data, onSelect }: SectionProps) {
  const onGroup = useCallback((id: number) => onSelect({ kind: 'group', id }), [onSelect]);
  return (
    <Progress
      data={data}
      groups={data.groups}
      samples={data.samples}
      time={data.time}
      onGroup={onGroup}
    />
  );
}

export const progress: SectionSpec = {
  id: 'progress',
  title: () => trans.__('Progress'),
  summary: data => {
    const { counts } = totals(data);
    const over = counts.done + counts.failed + counts.cancelled;
    const all = total(counts);
    return all > 0 ? `${count(over)}/${count(all)}` : '';
  },
  Body
};
