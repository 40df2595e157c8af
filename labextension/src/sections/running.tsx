/** The tasks that run now, and those that wait: a table of everything unfinished that is known. */
import { useMemo } from 'react';
import type { TaskView, WorkerView } from '../events';
import { count, duration } from '../format';
import { trans } from '../i18n';
import { STATE_TEXT, runtimeOf, stageOf, totals } from '../model/selectors';
import { ENDED } from '../model/reducer';
import type { Data } from '../model/state';
import type { Filter } from '../views/model';
import { CellLink } from '../views/cell';
import type { PanelModel } from '../views/model';
import { Empty } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import type { Column, Facet } from '../views/table/model';
import { Table } from '../views/table/table';
import { STAGE_TONE, StateDot } from './state';

/** Whether a task is among those that are looked at. */
export function passes(task: TaskView, filter: Filter, groups: Data['groups']): boolean {
  return (
    (filter.group === null || task.group === filter.group) &&
    (filter.state === '' || stageOf(task.state) === filter.state) &&
    (filter.worker === '' || task.worker === filter.worker) &&
    (filter.cell === '' || groups.get(task.group)?.origin === filter.cell) &&
    (filter.text === '' || task.name.toLowerCase().includes(filter.text.toLowerCase()))
  );
}

function columns(
  model: PanelModel,
  groups: Data['groups'],
  workers: ReadonlyMap<string, WorkerView>,
  second: number
): readonly Column<TaskView>[] {
  const pid = (task: TaskView): number | null => workers.get(task.worker)?.pid ?? null;
  const origin = (task: TaskView): string => groups.get(task.group)?.origin ?? '';
  return [
    {
      id: 'name',
      title: trans.__('Task'),
      width: 110,
      grow: 3,
      value: task => task.name,
      cell: task => <StateDot tone={STAGE_TONE[stageOf(task.state)]}>{task.name}</StateDot>
    },
    {
      id: 'state',
      title: trans.__('State'),
      width: 84,
      grow: 2,
      from: 420,
      value: task => STATE_TEXT[task.state]
    },
    {
      id: 'time',
      title: trans.__('Time'),
      hint: trans.__('How long it has been running; how long it has been waiting, in grey'),
      width: 76,
      align: 'end',
      downFirst: true,
      // What waits comes after what runs, each the longest first.
      value: task => runtimeOf(task, second) ?? second - task.submitted - 1e9,
      text: task => duration(runtimeOf(task, second) ?? Math.max(0, second - task.submitted)),
      cell: task => (
        <span className={task.started ? '' : 'fl-quiet'}>
          {duration(runtimeOf(task, second) ?? Math.max(0, second - task.submitted))}
        </span>
      )
    },
    {
      id: 'pid',
      title: trans.__('Process'),
      hint: trans.__('Process id of its worker'),
      width: 62,
      from: 330,
      align: 'end',
      value: pid
    },
    {
      id: 'attempt',
      title: trans.__('Attempt'),
      width: 62,
      from: 560,
      align: 'end',
      downFirst: true,
      value: task => task.attempt + 1
    },
    {
      id: 'cell',
      title: trans.__('Cell'),
      width: 110,
      grow: 1,
      from: 640,
      value: task => origin(task) || null,
      cell: (task, active) => (
        <CellLink model={model} origin={origin(task)} focusable={active} />
      )
    }
  ];
}

const key = (task: TaskView): string => task.id;

export function Running({ model, data, selection, onSelect }: SectionProps) {
  const { tasks, groups, workers } = data;
  const { filter } = model.get();
  const rows = useMemo(
    () =>
      [...tasks.values()].filter(
        task => !ENDED.has(task.state) && passes(task, filter, groups)
      ),
    [tasks, groups, filter]
  );
  const pids = useMemo(() => new Map(workers.map(w => [w.id, w])), [workers]);
  const second = Math.round(data.time * 2) / 2; // rows are sorted twice a second, not at each event
  const shape = useMemo(
    () => columns(model, groups, pids, second),
    [model, groups, pids, second]
  );
  const facet = useMemo(
    (): Facet<TaskView> => ({
      title: trans.__('State'),
      value: task => task.state,
      label: value => STATE_TEXT[value as TaskView['state']],
      order: ['RUNNING', 'SUBMITTED', 'PENDING_RESOURCES', 'PENDING_ARGS']
    }),
    []
  );
  const { counts } = totals(data);
  const unfinished = counts.running + counts.pending;
  if (unfinished === 0) {
    return <Empty>{trans.__('No task is running, and none waits.')}</Empty>;
  }
  return (
    <>
      <Table
        id="running"
        label={trans.__('Running and waiting tasks')}
        rows={rows}
        columns={shape}
        rowKey={key}
        sort={{ column: 'time', down: true }}
        facet={facet}
        selected={selection?.kind === 'task' ? selection.id : undefined}
        onRow={task => onSelect({ kind: 'task', id: task.id })}
      />
      {rows.length < unfinished && (
        <p className="fl-Hint">
          {trans.__(
            '%1 of %2 unfinished tasks. Choose a function under Progress to see all of its tasks.',
            count(rows.length),
            count(unfinished)
          )}
        </p>
      )}
    </>
  );
}

export const running: SectionSpec = {
  id: 'running',
  title: () => trans.__('Running tasks'),
  summary: data => {
    const { counts } = totals(data);
    return counts.pending > 0
      ? trans.__('%1 · %2 waiting', count(counts.running), count(counts.pending))
      : count(counts.running);
  },
  Body: Running
};
