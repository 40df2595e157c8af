/** The processes that run tasks and actors. */
import { useMemo } from 'react';
import type { WorkerState, WorkerView } from '../events';
import { bytes, count } from '../format';
import { trans } from '../i18n';
import { memoryShare, memoryText } from '../model/selectors';
import { Empty, Meter } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import type { Column, Facet } from '../views/table/model';
import { Table } from '../views/table/table';
import { StateDot, type Tone } from './state';

export function workerState(state: WorkerState): string {
  const texts: Record<WorkerState, string> = {
    STARTING: trans.__('starting'),
    IDLE: trans.__('idle'),
    BUSY: trans.__('busy'),
    BLOCKED: trans.__('waits for results'),
    ACTOR: trans.__('actor'),
    DEAD: trans.__('dead')
  };
  return texts[state] ?? state;
}

export const WORKER_TONE: Record<WorkerState, Tone> = {
  STARTING: 'warm',
  IDLE: 'quiet',
  BUSY: 'running',
  BLOCKED: 'warm',
  ACTOR: 'done',
  DEAD: 'bad'
};

/** What a worker does, in a word: its task, its actor, or that it waits. */
export function doing(worker: WorkerView): string {
  const task = worker.task || (worker.task_id ? trans.__('a task') : '');
  if (worker.actor) {
    return task ? `${worker.actor} · ${task}` : worker.actor;
  }
  return task || workerState(worker.state);
}

function columns(): readonly Column<WorkerView>[] {
  return [
    {
      id: 'doing',
      title: trans.__('Worker'),
      hint: trans.__('What the process does'),
      width: 110,
      grow: 3,
      value: doing,
      text: w => `${doing(w)} (${workerState(w.state)})`,
      cell: w => (
        <StateDot tone={WORKER_TONE[w.state]}>
          <span className={w.task_id || w.actor ? '' : 'fl-quiet'}>{doing(w)}</span>
        </StateDot>
      )
    },
    {
      id: 'pid',
      title: trans.__('Process'),
      hint: trans.__('Process id'),
      width: 72,
      from: 330,
      align: 'end',
      value: w => w.pid
    },
    {
      id: 'cpu',
      title: trans.__('CPU'),
      hint: trans.__('CPU time of the process, in percent of one core'),
      width: 86,
      align: 'end',
      downFirst: true,
      value: w => w.cpu_percent,
      text: w => trans.__('%1 %', w.cpu_percent.toFixed(0)),
      cell: w => (
        <>
          <Meter
            share={w.cpu_percent / 100}
            label={trans.__('CPU of worker %1', w.pid)}
            text={trans.__('%1 %', w.cpu_percent.toFixed(0))}
          />
          <span className="fl-Number">{trans.__('%1 %', w.cpu_percent.toFixed(0))}</span>
        </>
      )
    },
    {
      id: 'rss',
      title: trans.__('Memory'),
      hint: trans.__('Memory of the process, shared memory that it has touched included'),
      width: 68,
      from: 265,
      align: 'end',
      downFirst: true,
      value: w => w.rss,
      text: w => bytes(w.rss)
    },
    {
      id: 'gpus',
      title: trans.__('GPUs'),
      width: 54,
      from: 520,
      value: w => (w.gpus.length ? w.gpus.join(', ') : null),
      text: w => w.gpus.join(', ')
    },
    {
      id: 'finished',
      title: trans.__('Done'),
      hint: trans.__('Tasks that it has finished'),
      width: 60,
      from: 420,
      align: 'end',
      downFirst: true,
      value: w => w.finished,
      text: w => count(w.finished)
    },
    {
      id: 'state',
      title: trans.__('State'),
      width: 110,
      from: 640,
      value: w => workerState(w.state)
    }
  ];
}

const key = (worker: WorkerView): string => worker.id;

export function Workers({ data, selection, onSelect }: SectionProps) {
  const shape = useMemo(columns, []);
  const facet = useMemo(
    (): Facet<WorkerView> => ({
      title: trans.__('State'),
      value: w => w.state,
      label: value => workerState(value as WorkerState),
      order: ['BUSY', 'ACTOR', 'BLOCKED', 'STARTING', 'IDLE', 'DEAD']
    }),
    []
  );
  if (data.workers.length === 0) {
    return (
      <Empty>
        {trans.__(
          'No worker process is running. They start as soon as there is work for them.'
        )}
      </Empty>
    );
  }
  return (
    <Table
      id="workers"
      label={trans.__('Workers')}
      rows={data.workers}
      columns={shape}
      rowKey={key}
      sort={{ column: 'pid', down: false }}
      facet={data.workers.length > 8 ? facet : undefined}
      selected={selection?.kind === 'worker' ? selection.id : undefined}
      onRow={worker => onSelect({ kind: 'worker', id: worker.id })}
    />
  );
}

export const workers: SectionSpec = {
  id: 'workers',
  title: () => trans.__('Workers'),
  summary: data => [count(data.workers.length), memoryText(data)].filter(Boolean).join(' · '),
  bad: data => (memoryShare(data) ?? 0) > 0.9,
  Body: Workers
};
