/** What can be said of tasks at the moment that is shown: from the state, and from the timeline. */
import type { TaskState, TaskView } from '../events';
import { trans } from '../i18n';
import type { Data } from '../model/state';
import { workerNumber } from '../model/graph/columns';
import type { Spans } from './spans';

const RUNNING_SHOWN = 1_000;
const NEIGHBOURS = 300;
export const OVER: ReadonlySet<TaskState> = new Set(['FINISHED', 'FAILED', 'CANCELLED']);

/** Rows as the page of the timeline has them for what runs at the moment. */
export function running(spans: Spans, data: Data): unknown[] {
  const rows: unknown[] = [];
  const seen = new Set<string>();
  for (let i = spans.endedBy(data.time); i < spans.count; i++) {
    if (spans.start[i] <= data.time && rows.length < RUNNING_SHOWN) {
      const id = spans.id(i);
      seen.add(id);
      rows.push([
        id,
        spans.group[i],
        spans.worker[i],
        spans.pid[i],
        spans.attempt[i],
        spans.start[i],
        spans.submitted[i],
        spans.gate(i)
      ]);
    }
  }
  for (const task of data.tasks.values()) {
    const open = task.state === 'RUNNING' && task.started > 0;
    if (open && !seen.has(task.id) && spans.find(task.id) < 0 && rows.length < RUNNING_SHOWN) {
      const pid = data.workers.find(w => w.id === task.worker)?.pid ?? 0;
      rows.push([
        task.id,
        task.group,
        workerNumber(task.worker),
        pid,
        task.attempt,
        task.started,
        task.submitted,
        '0'.repeat(24)
      ]);
    }
  }
  return rows;
}

/** A task of which only the timeline is left. */
export function fromSpan(spans: Spans, i: number, data: Data): TaskView {
  const over = spans.end[i] <= data.time;
  const worker = data.workers.find(w => workerNumber(w.id) === spans.worker[i]);
  return {
    id: spans.id(i),
    group: spans.group[i],
    name: spans.names[spans.group[i]]?.[0] ?? data.groups.get(spans.group[i])?.name ?? '?',
    state: !over ? 'RUNNING' : spans.failed[i] ? 'FAILED' : 'FINISHED',
    deps: [],
    parent: '',
    actor: '',
    worker: worker?.id ?? '',
    submitted: spans.submitted[i],
    started: spans.start[i],
    finished: over ? spans.end[i] : 0,
    attempt: spans.attempt[i],
    error: ''
  } as TaskView;
}

export function argumentState(task: TaskView | undefined): string {
  if (task === undefined || task.state === 'FINISHED') {
    return 'READY';
  }
  return task.state;
}

export function sentence(task: TaskView, data: Data): string {
  switch (task.state) {
    case 'PENDING_ARGS': {
      const n = reasons(task, data).length;
      return n > 0
        ? trans._n(
            'Waits for %1 task that makes its arguments.',
            'Waits for %1 tasks that make its arguments.',
            n
          )
        : trans.__('Waits for its arguments.');
    }
    case 'PENDING_RESOURCES':
      return task.actor
        ? trans.__('Waits for its actor.')
        : trans.__('Waits for a free worker and the resources that it asks for.');
    case 'SUBMITTED':
      return trans.__('Is sent to a worker, behind another task.');
    case 'RUNNING':
      return trans.__('Runs.');
    case 'CANCELLED':
      return trans.__('Was cancelled.');
    case 'FAILED':
      return task.error ? trans.__('Failed: %1', task.error) : trans.__('Failed.');
    default:
      return trans.__('Is done.');
  }
}

/** What a task waits for, one line for each task that is not over. */
export function reasons(task: TaskView, data: Data): object[] {
  if (OVER.has(task.state) || task.state === 'RUNNING') {
    return [];
  }
  return task.deps
    .map(dep => data.tasks.get(dep))
    .filter((dep): dep is TaskView => dep !== undefined && !OVER.has(dep.state))
    .map(dep => ({
      depth: 1,
      label: trans.__('waits for'),
      text: `\`${dep.name}\` · ${dep.state.toLowerCase().replaceAll('_', ' ')}`,
      task: dep.id
    }));
}

export function neighbours(id: string, radius: number, data: Data, spans: Spans): object {
  const users = new Map<string, string[]>();
  const put = (key: string, value: string): void => {
    const list = users.get(key);
    if (list) {
      list.push(value);
    } else {
      users.set(key, [value]);
    }
  };
  for (const task of data.tasks.values()) {
    task.deps.forEach(dep => put(dep, task.id));
    if (task.parent) {
      put(task.parent, task.id);
    }
  }
  const i = spans.find(id);
  const centre = data.tasks.get(id) ?? (i >= 0 ? fromSpan(spans, i, data) : undefined);
  if (centre === undefined) {
    throw new Error(trans.__('The recording does not know this task at this moment.'));
  }
  const found = new Map([[id, centre]]);
  let edge = [centre];
  let whole = true;
  for (let distance = 0; distance < radius; distance++) {
    const next: TaskView[] = [];
    for (const task of edge) {
      for (const other of [...task.deps, task.parent, ...(users.get(task.id) ?? [])]) {
        const view = data.tasks.get(other);
        if (view === undefined || found.has(other)) {
          continue;
        }
        if (found.size >= NEIGHBOURS) {
          whole = false;
          continue;
        }
        found.set(other, view);
        next.push(view);
      }
    }
    edge = next;
  }
  const links: object[] = [];
  for (const task of found.values()) {
    for (const dep of new Set(task.deps)) {
      if (found.has(dep)) {
        links.push({ source: dep, target: task.id, kind: 'data', size: 0 });
      }
    }
    if (found.has(task.parent)) {
      links.push({ source: task.parent, target: task.id, kind: 'spawn', size: 0 });
    }
  }
  return { tasks: [...found.values()], values: [], links, whole };
}
