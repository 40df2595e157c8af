/** What the sections show, computed from the state. All pure. */
import type { GroupView, TaskState, TaskView } from '../events';
import { bytes, count, percent } from '../format';
import { trans } from '../i18n';
import { endedCount } from './reducer';
import { RATE_WINDOW, type Data, type Sample, type State } from './state';

/** The five states that people see. */
export type Stage = 'pending' | 'running' | 'done' | 'failed' | 'cancelled';
export const STAGES: readonly Stage[] = ['done', 'running', 'failed', 'cancelled', 'pending'];
export type StageCounts = Record<Stage, number>;

export function stageOf(state: TaskState): Stage {
  switch (state) {
    case 'RUNNING':
      return 'running';
    case 'FINISHED':
      return 'done';
    case 'FAILED':
      return 'failed';
    case 'CANCELLED':
      return 'cancelled';
    default:
      return 'pending';
  }
}

/** Read when something is drawn, since the language is known only then. */
export const STATE_TEXT: Readonly<Record<TaskState, string>> = {
  get PENDING_ARGS() {
    return trans.__('waits for its arguments');
  },
  get PENDING_RESOURCES() {
    return trans.__('waits for resources');
  },
  get SUBMITTED() {
    return trans.__('next on a worker');
  },
  get RUNNING() {
    return trans.__('running');
  },
  get FINISHED() {
    return trans.__('done');
  },
  get FAILED() {
    return trans.__('failed');
  },
  get CANCELLED() {
    return trans.__('cancelled');
  }
};

export function stageCounts(group: GroupView): StageCounts {
  const counts: StageCounts = { pending: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
  for (const [state, n] of Object.entries(group.counts)) {
    counts[stageOf(state as TaskState)] += n ?? 0;
  }
  return counts;
}

export function total(counts: StageCounts): number {
  return counts.pending + counts.running + counts.done + counts.failed + counts.cancelled;
}

export interface ProgressRow {
  group: GroupView;
  counts: StageCounts;
  total: number;
  ended: number;
  active: boolean;
  /** Tasks per second, null while too little is known. */
  rate: number | null;
  /** Seconds to the end, null while unknown or when nothing is left. */
  eta: number | null;
  /** Mean seconds of one task, null before one has ended. */
  mean: number | null;
}

/** One row for each function, newest first: where the work is now stands on top. */
export function progressRows(data: Data): ProgressRow[] {
  return [...data.groups.values()]
    .sort((a, b) => b.first - a.first || b.id - a.id)
    .map(group => progressRow(group, data.samples.get(group.id) ?? [], data.time))
    .filter(row => row.total > 0);
}

export function progressRow(
  group: GroupView,
  samples: readonly Sample[],
  time: number
): ProgressRow {
  const counts = stageCounts(group);
  const all = total(counts);
  const ended = endedCount(group);
  const left = all - ended;
  const rate = left > 0 ? rateOf(samples, time) : null;
  const ran = counts.done + counts.failed;
  return {
    group,
    counts,
    total: all,
    ended,
    active: left > 0,
    rate,
    eta: rate !== null && rate > 0 && left > 0 ? left / rate : null,
    mean: ran > 0 ? group.duration / ran : null
  };
}

export interface CellRow extends Omit<ProgressRow, 'group'> {
  origin: string;
  /** The cell's functions, the newest first. */
  rows: ProgressRow[];
}

/** One row for each cell, newest first. What came from no cell is one row, the last. */
export function cellRows(rows: readonly ProgressRow[]): CellRow[] {
  const cells = new Map<string, ProgressRow[]>();
  for (const row of rows) {
    const found = cells.get(row.group.origin);
    if (found) {
      found.push(row);
    } else {
      cells.set(row.group.origin, [row]);
    }
  }
  return [...cells]
    .map(([origin, own]) => cellRow(origin, own))
    .sort((a, b) => Number(a.origin === '') - Number(b.origin === ''));
}

function cellRow(origin: string, rows: ProgressRow[]): CellRow {
  const counts: StageCounts = { pending: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
  let duration = 0;
  for (const row of rows) {
    for (const stage of STAGES) {
      counts[stage] += row.counts[stage];
    }
    duration += row.group.duration;
  }
  const sum = (of: (row: ProgressRow) => number): number =>
    rows.reduce((all, row) => all + of(row), 0);
  const rate = sum(row => row.rate ?? 0);
  // What is left of each function ends at its own pace: the slowest says when the cell ends. Of
  // a function that has not begun nothing can be said, and so of its cell.
  const left = rows.filter(row => row.active);
  const etas = left.map(row => row.eta);
  const ran = counts.done + counts.failed;
  return {
    origin,
    rows,
    counts,
    total: sum(row => row.total),
    ended: sum(row => row.ended),
    active: left.length > 0,
    rate: rate > 0 ? rate : null,
    eta:
      left.length > 0 && !etas.includes(null) ? Math.max(...etas.map(eta => eta ?? 0)) : null,
    mean: ran > 0 ? duration / ran : null
  };
}

function rateOf(samples: readonly Sample[], time: number): number | null {
  const recent = samples.filter(s => s.time >= time - RATE_WINDOW);
  if (recent.length < 2) {
    return null;
  }
  const span = time - recent[0].time;
  return span < 0.5 ? null : (recent[recent.length - 1].ended - recent[0].ended) / span;
}

export interface Totals {
  counts: StageCounts;
  cpus: number;
  cpusUsed: number;
  storeShare: number | null;
}

export function totals(data: Data): Totals {
  const counts: StageCounts = { pending: 0, running: 0, done: 0, failed: 0, cancelled: 0 };
  for (const group of data.groups.values()) {
    for (const [state, n] of Object.entries(group.counts)) {
      counts[stageOf(state as TaskState)] += n ?? 0;
    }
  }
  const cpus = data.runtime.total.CPU ?? 0;
  const free = data.runtime.available.CPU ?? 0;
  const store = data.store[data.store.length - 1];
  return {
    counts,
    cpus,
    cpusUsed: Math.max(0, cpus - free),
    storeShare: store && store.capacity > 0 ? store.used / store.capacity : null
  };
}

/** The status bar's text: "2/2 CPU · 14 running · store 31 %". */
export function statusText(state: State): string {
  if (state.data === null || state.phase !== 'live') {
    return 'Fanlight';
  }
  const t = totals(state.data);
  const parts = [
    trans.__('%1/%2 CPU', count(t.cpusUsed), count(t.cpus)),
    t.counts.running ? trans.__('%1 running', count(t.counts.running)) : trans.__('idle')
  ];
  if (t.storeShare !== null) {
    parts.push(trans.__('store %1', percent(t.storeShare)));
  }
  return parts.join(' · ');
}

/** The tasks of a group that are known here, in the order of their submission. */
export function tasksOf(tasks: Iterable<TaskView>, group: number): TaskView[] {
  return [...tasks].filter(t => t.group === group).sort(bySubmission);
}

export function bySubmission(a: TaskView, b: TaskView): number {
  return a.submitted - b.submitted || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** Seconds that a task has run or ran; null before it starts. */
export function runtimeOf(task: TaskView, time: number): number | null {
  if (!task.started) {
    return null;
  }
  return Math.max(0, (task.finished || time) - task.started);
}

export function storeText(data: Data): string {
  const store = data.store[data.store.length - 1];
  return store ? trans.__('%1 of %2', bytes(store.used), bytes(store.capacity)) : '';
}

/** "312 MB of 400 MB memory": of what is fullest, the machine, its container, a limit; '' unknown. */
export function memoryText(data: Data): string {
  const { memory_used: used, memory_limit: limit } = data.runtime;
  return limit > 0 ? trans.__('%1 of %2 memory', bytes(used), bytes(limit)) : '';
}

/** The share of memory in use, as far as it is known; above 0.9 something may be ended soon. */
export function memoryShare(data: Data): number | null {
  const { memory_used: used, memory_limit: limit } = data.runtime;
  return limit > 0 ? used / limit : null;
}
