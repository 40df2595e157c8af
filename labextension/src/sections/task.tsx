/** One task: its state, why it waits, where its time went, what it needed, how it failed. */
import { useEffect, useState } from 'react';
import type { TaskView } from '../events';
import { bytes, clock, count, duration, shortId } from '../format';
import { trans } from '../i18n';
import type { ArgumentView, TaskAnswer } from '../answers';
import { ENDED } from '../model/reducer';
import { STATE_TEXT, runtimeOf, stageOf } from '../model/selectors';
import type { Data } from '../model/state';
import { useAsked } from '../views/asked';
import { CellLink } from '../views/cell';
import { Empty } from '../views/parts';
import { Fact, Facts, Order, Sub, TaskTag } from './details/facts';
import type { DetailProps } from './details/props';
import { Times } from './details/times';
import { Trace } from './details/trace';
import { LogLines } from './logs/lines';
import { Why, useRounds } from './why';

const TAGS = 12;

export function Task(props: DetailProps) {
  const { id, model, data, live, onSelect } = props;
  const { source } = model;
  const known = data.tasks.get(id);
  const askable = live || source.kind === 'replay';
  const [over, setOver] = useState(false);
  const round = useRounds(live && !over);
  // Asked again whenever the task changes its state, and now and then while it waits or runs: the
  // reason changes with what others do.
  const { answer, problem } = useAsked<TaskAnswer>(
    source,
    askable ? { what: 'task', id } : null,
    `${known?.state} ${round}`
  );
  const task: TaskView | undefined = known ?? answer?.task ?? undefined;
  const ended = task === undefined || ENDED.has(task.state);
  useEffect(() => setOver(ended && task !== undefined), [ended, task]);
  if (!task) {
    return (
      <Empty>
        {problem ||
          (askable
            ? trans.__('Asking the runtime about this task…')
            : trans.__('Nothing more is known about this task.'))}
      </Empty>
    );
  }
  const onTask = (other: string): void => onSelect({ kind: 'task', id: other });
  const worker = data.workers.find(w => w.id === task.worker);
  const actor = data.actors.get(task.actor);
  const ran = runtimeOf(task, data.time);
  const origin = answer?.origin ?? data.groups.get(task.group)?.origin ?? '';
  const pid = worker?.pid ?? answer?.pid ?? 0;
  return (
    <div className="fl-Task">
      <p className="fl-Task-state">
        <span className={`fl-Badge fl-fill-${stageOf(task.state)}`}>
          {STATE_TEXT[task.state]}
        </span>
        {!ended && live && <Cancel {...props} running={task.state === 'RUNNING'} />}
        <CellLink model={model} origin={origin} />
      </p>
      {!ended && answer?.why && (
        <Why
          title={task.state === 'RUNNING' ? trans.__('What it does') : trans.__('Why it waits')}
          sentence={answer.why}
          lines={answer.lines ?? []}
          onTask={onTask}
        />
      )}
      {task.state === 'FAILED' && (
        <Trace
          model={model}
          text={answer?.traceback || task.error || trans.__('No traceback is known.')}
        />
      )}
      {answer?.times && <Times times={answer.times} />}
      <Facts>
        <Fact name={trans.__('Submitted')}>{clock(task.submitted)}</Fact>
        {!answer?.times && task.started > 0 && (
          <Fact name={trans.__('Waited')}>
            {duration(Math.max(0, task.started - task.submitted))}
          </Fact>
        )}
        {ran !== null && (
          <Fact name={ended ? trans.__('Ran') : trans.__('Running for')}>{duration(ran)}</Fact>
        )}
        <Fact name={trans.__('Worker')}>
          {task.worker !== '' && (
            <button
              type="button"
              className="fl-Link"
              onClick={() => onSelect({ kind: 'worker', id: task.worker })}
            >
              {pid > 0 ? trans.__('pid %1', pid) : shortId(task.worker)}
            </button>
          )}
        </Fact>
        <Fact name={trans.__('Actor')}>
          {task.actor !== '' && (
            <button
              type="button"
              className="fl-Link"
              onClick={() => onSelect({ kind: 'actor', id: task.actor })}
            >
              {actor ? actor.class_name : shortId(task.actor)}
            </button>
          )}
        </Fact>
        {task.attempt > 0 && <Fact name={trans.__('Attempt')}>{count(task.attempt + 1)}</Fact>}
        {answer?.times && answer.times.size > 0 && (
          <Fact name={trans.__('Result')}>{bytes(answer.times.size)}</Fact>
        )}
        <Fact name={trans.__('Called at')} title={answer?.site}>
          {answer?.site}
        </Fact>
        <Fact name={trans.__('Task id')} title={task.id}>
          {shortId(task.id)}
        </Fact>
      </Facts>
      <Values
        label={trans.__('Needs')}
        values={answer?.arguments ?? task.deps.map(unknownValue)}
        tasks={data.tasks}
        onSelect={onSelect}
      />
      {task.parent !== '' && (
        <div className="fl-Related">
          <span>{trans.__('Submitted by')}</span>
          <TaskTag
            id={task.parent}
            name={data.tasks.get(task.parent)?.name ?? ''}
            task={data.tasks.get(task.parent)}
            onTask={onTask}
          />
        </div>
      )}
      <Attempts answer={answer} last={task.attempt} />
      {task.started > 0 && askable && (
        <LogLines model={model} source={{ task: id }} live={live && !ended} brief />
      )}
      {problem !== '' && <p className="fl-Hint">{problem}</p>}
    </div>
  );
}

function Cancel({ id, model, running }: DetailProps & { running: boolean }) {
  const { source } = model;
  return (
    <>
      <Order
        source={source}
        command={{ action: 'cancel', task: id, force: false }}
        text={trans.__('Cancel')}
        loses=""
        question=""
        asked={trans.__('Cancelling…')}
      />
      {running && (
        <Order
          source={source}
          command={{ action: 'cancel', task: id, force: true }}
          text={trans.__('Kill its worker')}
          question={trans.__('Kill the worker of this task?')}
          loses={trans.__(
            'The process ends at once. What the task has done is lost, and it is not run again.'
          )}
          asked={trans.__('Killing its worker…')}
        />
      )}
    </>
  );
}

/** What is known of an argument before the runtime has answered: the task that makes it. */
function unknownValue(task: string): ArgumentView {
  return { id: task, task, name: '', state: '', size: 0, place: '' };
}

interface ValuesProps {
  label: string;
  values: readonly ArgumentView[];
  tasks: Data['tasks'];
  onSelect: DetailProps['onSelect'];
}

/** Arguments: the tasks that make them, and what was put. */
function Values({ label, values, tasks, onSelect }: ValuesProps) {
  if (values.length === 0) {
    return null;
  }
  return (
    <div className="fl-Related">
      <span>{label}</span>
      {values.slice(0, TAGS).map((value, i) => {
        const made = value.task !== '';
        const task = tasks.get(value.task);
        return (
          <TaskTag
            key={`${i} ${value.id}`}
            id={made ? value.task : value.id}
            name={task?.name ?? value.name}
            task={task}
            note={value.size > 0 ? bytes(value.size) : undefined}
            onTask={id => onSelect(made ? { kind: 'task', id } : { kind: 'object', id })}
          />
        );
      })}
      {values.length > TAGS && (
        <small>{trans.__('and %1 more', count(values.length - TAGS))}</small>
      )}
    </div>
  );
}

/** The attempts before the last one, and how they ended. */
function Attempts({ answer, last }: { answer: TaskAnswer | null; last: number }) {
  const attempts = answer?.attempts ?? [];
  if (last === 0 || attempts.length === 0) {
    return null;
  }
  return (
    <>
      <Sub>{trans.__('Attempts')}</Sub>
      <ol className="fl-Attempts">
        {attempts.map(attempt => (
          <li key={attempt.attempt}>
            <b>{count(attempt.attempt + 1)}</b>
            <span>{clock(attempt.started)}</span>
            <span>{duration(Math.max(0, attempt.finished - attempt.started))}</span>
            <span className="fl-quiet">{trans.__('pid %1', attempt.pid)}</span>
            <span className={attempt.ok ? '' : 'fl-bad'} title={attempt.error}>
              {attempt.ok
                ? trans.__('done')
                : attempt.error.split('\n', 1)[0]!.slice(0, 200) || trans.__('failed')}
            </span>
          </li>
        ))}
      </ol>
    </>
  );
}
