/** The processes that run tasks and actors. */
import { memo, useCallback, useState } from 'react';
import type { WorkerState, WorkerView } from '../events';
import { bytes, count } from '../format';
import { trans } from '../i18n';
import { memoryShare, memoryText } from '../model/selectors';
import { Empty, Meter } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';

const STATE: Record<WorkerState, string> = {
  STARTING: 'starting',
  IDLE: 'idle',
  BUSY: 'busy',
  BLOCKED: 'waits for results',
  ACTOR: 'actor',
  DEAD: 'dead'
};
const FIRST_ROWS = 12;

export interface WorkersProps {
  workers: readonly WorkerView[];
  onTask: (id: string) => void;
}

export const Workers = memo(function Workers({ workers, onTask }: WorkersProps) {
  const [all, setAll] = useState(false);
  if (workers.length === 0) {
    return <Empty>No worker process is running.</Empty>;
  }
  const sorted = [...workers].sort((a, b) => a.pid - b.pid);
  return (
    <>
      <ul className="fl-Workers">
        {(all ? sorted : sorted.slice(0, FIRST_ROWS)).map(worker => (
          <Row key={worker.id} worker={worker} actor={worker.actor} onTask={onTask} />
        ))}
      </ul>
      {sorted.length > FIRST_ROWS && (
        <button type="button" className="fl-Link" onClick={() => setAll(!all)}>
          {all ? 'Show fewer' : `Show ${sorted.length - FIRST_ROWS} more`}
        </button>
      )}
    </>
  );
});

interface RowProps {
  worker: WorkerView;
  actor: string;
  onTask: (id: string) => void;
}

function Row({ worker, actor, onTask }: RowProps) {
  const cpu = `${worker.cpu_percent.toFixed(0)} %`;
  return (
    <li
      className={`fl-Worker fl-Worker-${worker.state.toLowerCase()}`}
      title={`pid ${worker.pid}: ${STATE[worker.state]}, ${count(worker.finished)} tasks done`}
    >
      <span className="fl-Worker-dot" aria-hidden="true" />
      <span className="fl-Rows-main">
        {worker.task_id ? (
          <button
            type="button"
            className="fl-Link"
            title="Show this task"
            onClick={() => onTask(worker.task_id)}
          >
            {worker.task || 'a task'}
          </button>
        ) : (
          <span className={actor ? '' : 'fl-quiet'}>{actor || STATE[worker.state]}</span>
        )}
        {worker.gpus.length > 0 && (
          <span className="fl-Chip">GPU {worker.gpus.join(', ')}</span>
        )}
        <small className="fl-Worker-pid">pid {worker.pid}</small>
      </span>
      <Meter
        share={worker.cpu_percent / 100}
        label={`CPU of worker ${worker.pid}`}
        text={cpu}
      />
      <small>{cpu}</small>
      <small>{bytes(worker.rss)}</small>
    </li>
  );
}

export const workers: SectionSpec = {
  id: 'workers',
  title: () => trans.__('Workers'),
  summary: data => [count(data.workers.length), memoryText(data)].filter(Boolean).join(' · '),
  bad: data => (memoryShare(data) ?? 0) > 0.9,
  Body: ({ data, onSelect }: SectionProps) => {
    const onTask = useCallback((id: string) => onSelect({ kind: 'task', id }), [onSelect]);
    return <Workers workers={data.workers} onTask={onTask} />;
  }
};
