/** What fails and what runs: tracebacks as text, newest first, and the tasks that are at work. */
import { memo, useCallback, useMemo, useState } from 'react';
import type { ErrorView } from '../events';
import { clock, count, duration } from '../format';
import { trans } from '../i18n';
import { runtimeOf, totals } from '../model/selectors';
import type { Data } from '../model/state';
import { Empty, Traceback, stripAnsi } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';

const SHOWN = 20;

export interface ErrorsProps {
  errors: readonly ErrorView[];
  onTask: (id: string) => void;
}

export const Errors = memo(function Errors({ errors, onTask }: ErrorsProps) {
  if (errors.length === 0) {
    return <Empty>No task has failed.</Empty>;
  }
  const shown = [...errors].reverse().slice(0, SHOWN);
  return (
    <>
      <ul className="fl-Errors">
        {shown.map(error => (
          <Row key={error.task_id} error={error} onTask={onTask} />
        ))}
      </ul>
      {errors.length > SHOWN && (
        <p className="fl-Hint">and {errors.length - SHOWN} older ones</p>
      )}
    </>
  );
});

function Row({ error, onTask }: { error: ErrorView; onTask: (id: string) => void }) {
  const [open, setOpen] = useState(false);
  return (
    <li>
      <button
        type="button"
        className="fl-Error-head"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        <span className="fl-caret" aria-hidden="true" />
        <b>{error.name}</b>
        <time>{clock(error.time)}</time>
        <span className="fl-Error-message">{stripAnsi(error.message)}</span>
      </button>
      {open && (
        <>
          <Traceback text={error.traceback || error.message} />
          <button type="button" className="fl-Link" onClick={() => onTask(error.task_id)}>
            Show the task
          </button>
        </>
      )}
    </li>
  );
}

export interface RunningProps {
  tasks: Data['tasks'];
  time: number;
  onTask: (id: string) => void;
}

/** The tasks that run now, the longest first. */
export const Running = memo(function Running({ tasks, time, onTask }: RunningProps) {
  const running = useMemo(
    () =>
      [...tasks.values()]
        .filter(t => t.state === 'RUNNING')
        .sort((a, b) => a.started - b.started),
    [tasks]
  );
  if (running.length === 0) {
    return <Empty>No task is running.</Empty>;
  }
  return (
    <>
      <ul className="fl-Rows fl-Running">
        {running.slice(0, SHOWN).map(task => (
          <li key={task.id}>
            <button type="button" className="fl-Link" onClick={() => onTask(task.id)}>
              {task.name}
            </button>
            <span>{duration(runtimeOf(task, time) ?? 0)}</span>
          </li>
        ))}
      </ul>
      {running.length > SHOWN && <p className="fl-Hint">and {running.length - SHOWN} more</p>}
    </>
  );
});

export const errors: SectionSpec = {
  id: 'errors',
  title: () => trans.__('Errors'),
  summary: data => (data.errors.length > 0 ? count(data.errors.length) : trans.__('none')),
  bad: data => data.errors.length > 0,
  Body: ({ data, onSelect }: SectionProps) => {
    const onTask = useCallback((id: string) => onSelect({ kind: 'task', id }), [onSelect]);
    return <Errors errors={data.errors} onTask={onTask} />;
  }
};

export const running: SectionSpec = {
  id: 'running',
  title: () => trans.__('Running tasks'),
  summary: data => count(totals(data).counts.running),
  Body: ({ data, onSelect }: SectionProps) => {
    const onTask = useCallback((id: string) => onSelect({ kind: 'task', id }), [onSelect]);
    return <Running tasks={data.tasks} time={data.time} onTask={onTask} />;
  }
};
