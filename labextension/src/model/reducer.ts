/** Folds messages into the state. Pure: no clock, no socket; what did not change keeps its identity. */
import {
  ERROR_LIMIT,
  HISTORY_LIMIT,
  TASK_LIMIT,
  type Delta,
  type EdgeView,
  type Event,
  type GroupView,
  type Snapshot,
  type TaskState,
  type TaskView
} from '../events';
import { gpuHistories, oneStoreRow, withRow, withSample } from './history';
import {
  ACTOR_LIMIT,
  EDGE_LIMIT,
  GROUP_LIMIT,
  RATE_WINDOW,
  type Data,
  type Link,
  type RecordingRow,
  type RuntimeSummary,
  type Sample,
  type State
} from './state';

export type Message =
  | Event
  | { type: 'runtimes'; runtimes: RuntimeSummary[] }
  | { type: 'recordings'; recordings: RecordingRow[] }
  | {
      type: 'status';
      state: 'none' | 'connecting' | 'live' | 'lost';
      reason: string;
      runtime_id: string;
      target?: string;
    };

export type Action =
  Message | { type: 'link'; link: Link } | { type: 'target'; name?: string | null };

export const ENDED: ReadonlySet<TaskState> = new Set(['FINISHED', 'FAILED', 'CANCELLED']);

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case 'link':
      return { ...state, link: action.link };
    case 'target':
      if (state.target !== null && action.name === state.target) {
        return state; // the server is not told again
      }
      // Something else is followed: what is shown stays until the server answers, as stale.
      return { ...state, fresh: true, target: action.name ?? null };
    case 'runtimes':
      return { ...state, runtimes: action.runtimes };
    case 'recordings':
      return { ...state, recordings: action.recordings };
    case 'status':
      return status(state, action);
    case 'snapshot':
      return {
        ...state,
        phase: 'live',
        reason: '',
        runtimeId: action.runtime.id,
        fresh: state.fresh && state.target !== null, // of a known target the status says more
        data: fromSnapshot(action, state.data)
      };
    case 'delta':
      return state.data === null ? state : { ...state, data: applyDelta(state.data, action) };
    case 'ended':
      return { ...state, phase: 'ended', reason: action.reason };
    default:
      return state; // a newer server may say more than this version knows
  }
}

function status(state: State, message: Message & { type: 'status' }): State {
  if (state.target !== null && (message.target ?? state.target) !== state.target) {
    return state; // said before the server heard of what is followed now
  }
  const next: State = { ...state, reason: message.reason, runtimeId: message.runtime_id };
  if (message.state !== 'none') {
    const other = state.data !== null && state.data.runtime.id !== message.runtime_id;
    next.phase = message.state;
    next.fresh = false;
    next.runtimeId = message.runtime_id;
    next.data = other && state.fresh ? null : state.data;
    return next;
  }
  if (state.fresh || state.data === null) {
    // The new target has no runtime: nothing of another one may be on view.
    return { ...next, phase: 'none', data: null, fresh: false };
  }
  // The runtime that was on view is gone; its last state stays, and is called that.
  return {
    ...next,
    phase: 'ended',
    reason: state.phase === 'ended' && state.reason ? state.reason : 'The runtime has ended',
    runtimeId: state.data.runtime.id
  };
}

export function edgeKey(edge: Pick<EdgeView, 'source' | 'target' | 'kind'>): string {
  return `${edge.source}>${edge.target}:${edge.kind}`;
}

export function endedCount(group: GroupView): number {
  const counts = group.counts;
  return (counts.FINISHED ?? 0) + (counts.FAILED ?? 0) + (counts.CANCELLED ?? 0);
}

function fromSnapshot(event: Snapshot, before: Data | null): Data {
  const same = before !== null && before.runtime.id === event.runtime.id;
  const groups = bounded(new Map(event.groups.map(g => [g.id, g])), GROUP_LIMIT);
  return {
    seq: event.seq,
    time: event.time,
    runtime: event.runtime,
    groups,
    edges: bounded(new Map(event.edges.map(e => [edgeKey(e), e])), EDGE_LIMIT),
    tasks: trimmed(new Map(event.tasks.map(t => [t.id, t]))),
    workers: event.workers,
    actors: bounded(new Map(event.actors.map(a => [a.id, a])), ACTOR_LIMIT),
    gpus: event.gpus,
    gpuStatus: event.gpu_status,
    gpuHistory: gpuHistories(event.gpu_history),
    store: event.store.slice(-HISTORY_LIMIT),
    objects: event.objects,
    errors: event.errors.slice(-ERROR_LIMIT),
    samples: sample(same ? before.samples : new Map(), event.groups, event.time, groups),
    gap: false
  };
}

function applyDelta(data: Data, delta: Delta): Data {
  if (delta.seq <= data.seq) {
    return data; // already part of the snapshot
  }
  if (delta.seq > data.seq + 1) {
    return { ...data, gap: true };
  }
  const groups = merge(data.groups, delta.groups, g => g.id, GROUP_LIMIT);
  return {
    seq: delta.seq,
    time: delta.time,
    runtime: delta.runtime ?? data.runtime,
    groups,
    edges: merge(data.edges, delta.edges, edgeKey, EDGE_LIMIT),
    tasks: nextTasks(data.tasks, delta.tasks, delta.groups),
    workers: delta.workers ?? data.workers,
    actors: merge(data.actors, delta.actors, a => a.id, ACTOR_LIMIT),
    gpus: delta.gpus ?? data.gpus,
    gpuStatus: delta.gpu_status ?? data.gpuStatus,
    gpuHistory:
      delta.gpus === null
        ? data.gpuHistory
        : withSample(data.gpuHistory, delta.time, delta.gpus),
    store: delta.store === null ? data.store : withRow(data.store, delta.store, oneStoreRow),
    objects: delta.objects ?? data.objects,
    errors: delta.errors.length ? addErrors(data.errors, delta.errors) : data.errors,
    samples: sample(data.samples, delta.groups, delta.time, groups),
    gap: data.gap
  };
}

function addErrors(old: Data['errors'], news: Data['errors']): Data['errors'] {
  const replaced = new Set(news.map(e => e.task_id));
  return [...old.filter(e => !replaced.has(e.task_id)), ...news].slice(-ERROR_LIMIT);
}

/** With the news, and at most `limit` entries: those that came first go. */
function merge<K, V>(
  old: ReadonlyMap<K, V>,
  news: readonly V[],
  key: (value: V) => K,
  limit: number
): ReadonlyMap<K, V> {
  if (news.length === 0) {
    return old;
  }
  const merged = new Map(old);
  for (const value of news) {
    merged.set(key(value), value);
  }
  return bounded(merged, limit);
}

/** The newest `limit` entries; the map is changed. */
function bounded<K, V>(map: Map<K, V>, limit: number): ReadonlyMap<K, V> {
  let surplus = map.size - limit;
  if (surplus > 0) {
    for (const key of map.keys()) {
      map.delete(key);
      surplus -= 1;
      if (surplus === 0) {
        break;
      }
    }
  }
  return map;
}

/** The tasks after a delta, copied once at most: ten times a second, of up to TASK_LIMIT. */
function nextTasks(
  old: ReadonlyMap<string, TaskView>,
  news: readonly TaskView[],
  groups: readonly GroupView[]
): ReadonlyMap<string, TaskView> {
  let next: Map<string, TaskView> | null = null;
  if (news.length) {
    next = new Map(old);
    for (const task of news) {
      next.set(task.id, task);
    }
  }
  const stale = staleTasks(next ?? old, groups);
  if (stale.length) {
    next ??= new Map(old);
    for (const id of stale) {
      next.delete(id);
    }
  }
  return next === null ? old : trimmed(next);
}

/**
 * At most TASK_LIMIT tasks: the oldest that have ended go first, so that what runs stays visible.
 * The map is changed.
 */
function trimmed(tasks: Map<string, TaskView>): ReadonlyMap<string, TaskView> {
  for (const over of [true, false]) {
    let surplus = tasks.size - TASK_LIMIT;
    if (surplus <= 0) {
      break;
    }
    for (const [id, task] of tasks) {
      if (!over || ENDED.has(task.state)) {
        tasks.delete(id);
        surplus -= 1;
        if (surplus === 0) {
          break;
        }
      }
    }
  }
  return tasks;
}

/**
 * A delta names the newest changes only, so of very many short tasks some changes are never heard.
 * The counts of groups are exact: of what is held as running or pending beyond them, the oldest is
 * out of date and is to be forgotten, rather than shown as it is not.
 */
function staleTasks(
  tasks: ReadonlyMap<string, TaskView>,
  groups: readonly GroupView[]
): string[] {
  if (groups.length === 0) {
    return [];
  }
  // By group: how many more are held than there are.
  const running = new Map<number, number>();
  const pending = new Map<number, number>();
  for (const group of groups) {
    const runs = group.counts.RUNNING ?? 0;
    const all = Object.values(group.counts).reduce((sum, n) => sum + (n ?? 0), 0);
    running.set(group.id, -runs);
    pending.set(group.id, runs + endedCount(group) - all);
  }
  const surplusOf = (task: TaskView): Map<number, number> | null =>
    ENDED.has(task.state) ? null : task.state === 'RUNNING' ? running : pending;
  let any = false;
  for (const task of tasks.values()) {
    const surplus = surplusOf(task);
    const n = surplus?.get(task.group);
    if (surplus && n !== undefined) {
      surplus.set(task.group, n + 1);
      any ||= n >= 0;
    }
  }
  const stale: string[] = [];
  if (any) {
    for (const [id, task] of tasks) {
      const surplus = surplusOf(task);
      const n = surplus?.get(task.group) ?? 0;
      if (surplus && n > 0) {
        surplus.set(task.group, n - 1);
        stale.push(id);
      }
    }
  }
  return stale;
}

function sample(
  old: ReadonlyMap<number, readonly Sample[]>,
  groups: readonly GroupView[],
  time: number,
  known: ReadonlyMap<number, GroupView>
): ReadonlyMap<number, readonly Sample[]> {
  if (groups.length === 0) {
    return old;
  }
  const samples = new Map(old);
  for (const group of groups) {
    const ended = endedCount(group);
    const history = samples.get(group.id) ?? [];
    if (history.length && history[history.length - 1].ended === ended) {
      continue;
    }
    const recent = history.filter(s => s.time >= time - RATE_WINDOW).slice(-63);
    samples.set(group.id, [...recent, { time, ended }]);
  }
  if (samples.size > known.size) {
    for (const id of samples.keys()) {
      if (!known.has(id)) {
        samples.delete(id);
      }
    }
  }
  return samples;
}
