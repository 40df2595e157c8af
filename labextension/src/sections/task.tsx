/** One task: its state, why it waits, when it ran and where, what it needed, how it failed. */
import { useEffect, useState } from 'react';
import type { TaskView } from '../events';
import { clock, duration, shortId } from '../format';
import { ENDED } from '../model/reducer';
import { STATE_TEXT, runtimeOf, stageOf } from '../model/selectors';
import type { Data } from '../model/state';
import type { TaskAnswer } from '../model/queries';
import type { Source } from '../model/source';
import { Empty, Traceback } from '../views/parts';
import { Why, useRounds } from './why';

export interface TaskProps {
  id: string;
  tasks: Data['tasks'];
  workers: Data['workers'];
  time: number;
  live: boolean;
  source: Source;
  onTask: (id: string) => void;
}

export function Task(props: TaskProps) {
  const { id, tasks, source, live } = props;
  const known = tasks.get(id);
  const [answer, setAnswer] = useState<TaskAnswer | null>(null);
  const [problem, setProblem] = useState('');
  const [asked, setAsked] = useState('');
  const state = known?.state;
  const unfinished = !ENDED.has(state ?? answer?.task?.state ?? 'FINISHED');
  const round = useRounds(live && unfinished);
  // Asked again whenever the task changes its state, and now and then while it waits or runs: the
  // reason changes with what others do.
  useEffect(() => {
    let current = true;
    setProblem('');
    if (live) {
      source
        .ask<TaskAnswer>({ what: 'task', id })
        .then(found => current && setAnswer(found))
        .catch(error => current && setProblem(messageOf(error)));
    }
    return () => {
      current = false;
    };
  }, [id, state, live, source, round]);
  useEffect(() => {
    setAnswer(null);
    setAsked('');
  }, [id]);
  const task: TaskView | undefined = known ?? answer?.task ?? undefined;
  if (!task) {
    return <Empty>{problem || 'Asking the runtime about this task…'}</Empty>;
  }
  const over = ENDED.has(task.state);
  const cancel = (force: boolean): void => {
    setAsked(force ? 'Killing its worker…' : 'Cancelling…');
    source
      .command({ action: 'cancel', task: id, force })
      .catch(error => setAsked(messageOf(error)));
  };
  const worker = props.workers.find(w => w.id === task.worker);
  const ran = runtimeOf(task, props.time);
  return (
    <div className="fl-Task">
      <p className="fl-Task-state">
        <span className={`fl-Badge fl-fill-${stageOf(task.state)}`}>
          {STATE_TEXT[task.state]}
        </span>
        {!over && live && source.controls && (
          <>
            <button type="button" className="fl-Button" onClick={() => cancel(false)}>
              Cancel
            </button>
            {asked !== '' && task.state === 'RUNNING' && (
              <button
                type="button"
                className="fl-Button fl-Button-bad"
                onClick={() => cancel(true)}
              >
                Kill its worker
              </button>
            )}
          </>
        )}
        {asked !== '' && !over && <small>{asked}</small>}
      </p>
      {!over && answer?.why && (
        <Why
          title={task.state === 'RUNNING' ? 'What it does' : 'Why it waits'}
          sentence={answer.why}
          lines={answer.lines ?? []}
          onTask={props.onTask}
        />
      )}
      <dl className="fl-Facts">
        <Fact name="Submitted" value={clock(task.submitted)} />
        {task.started > 0 && (
          <Fact name="Waited" value={duration(Math.max(0, task.started - task.submitted))} />
        )}
        {ran !== null && <Fact name={over ? 'Ran' : 'Running for'} value={duration(ran)} />}
        {task.worker !== '' && (
          <Fact name="Worker" value={worker ? `pid ${worker.pid}` : shortId(task.worker)} />
        )}
        {task.attempt > 0 && <Fact name="Attempt" value={String(task.attempt + 1)} />}
        <Fact name="Task id" value={shortId(task.id)} title={task.id} />
      </dl>
      <Related label="Needs" ids={task.deps} tasks={tasks} onTask={props.onTask} />
      <Related
        label="Submitted by"
        ids={task.parent ? [task.parent] : []}
        tasks={tasks}
        onTask={props.onTask}
      />
      {task.state === 'FAILED' && (
        <Traceback text={answer?.traceback || task.error || 'No traceback is known.'} />
      )}
      {problem !== '' && <p className="fl-Hint">{problem}</p>}
    </div>
  );
}

function Fact(props: { name: string; value: string; title?: string }) {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd title={props.title}>{props.value}</dd>
    </div>
  );
}

interface RelatedProps {
  label: string;
  ids: readonly string[];
  tasks: Data['tasks'];
  onTask: (id: string) => void;
}

/** Other tasks, by name, to go to. */
function Related({ label, ids, tasks, onTask }: RelatedProps) {
  if (ids.length === 0) {
    return null;
  }
  return (
    <div className="fl-Related">
      <span>{label}</span>
      {ids.slice(0, 12).map(id => {
        const task = tasks.get(id);
        return (
          <button
            key={id}
            type="button"
            className="fl-Tag"
            title={id}
            onClick={() => onTask(id)}
          >
            {task && (
              <i className={`fl-Dot fl-fill-${stageOf(task.state)}`} aria-hidden="true" />
            )}
            {task?.name ?? shortId(id)}
          </button>
        );
      })}
      {ids.length > 12 && <small>and {ids.length - 12} more</small>}
    </div>
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
