/** Small events for tests. */
import type {
  Delta,
  GpuView,
  GroupView,
  RuntimeView,
  Snapshot,
  StoreView,
  TaskState,
  TaskView
} from '@fanlight/events';
import type { Source } from '@fanlight/model/source';
import { Store } from '@fanlight/model/store';

const never = new Promise<never>(() => undefined);

/** A source that never says anything. */
export const SILENT: Source = {
  kind: 'live',
  controls: true,
  store: new Store(run => run()),
  ask: () => never,
  command: () => never,
  watch: () => undefined,
  retryNow: () => undefined,
  dispose: () => undefined
};

export function runtime(id = 'r1'): RuntimeView {
  return {
    id,
    name: 'lesson',
    engine: 'local',
    version: '0.1',
    python: '3.11',
    pid: 7,
    started: 100,
    total: { CPU: 2 },
    available: { CPU: 0 },
    drivers: [],
    memory_used: 0,
    memory_limit: 0,
    memory_scope: ''
  };
}

export function group(id: number, counts: GroupView['counts'] = {}, first = id): GroupView {
  return {
    id,
    name: `f${id}`,
    kind: 'task',
    origin: '',
    counts,
    duration: 0,
    first,
    last: first
  };
}

export function task(
  id: string,
  state: TaskState = 'FINISHED',
  more: Partial<TaskView> = {}
): TaskView {
  return {
    id,
    group: 1,
    name: 'f1',
    state,
    deps: [],
    parent: '',
    actor: '',
    worker: '',
    submitted: 100,
    started: 0,
    finished: 0,
    attempt: 0,
    error: '',
    ...more
  };
}

export function store(time: number, used = 10, capacity = 100): StoreView {
  return {
    time,
    capacity,
    used,
    pinned: 0,
    cached: 0,
    inline: 0,
    spilled: 0,
    objects: 1,
    spills: 0,
    restores: 0,
    spill_bytes: 0,
    restore_bytes: 0
  };
}

export function gpu(more: Partial<GpuView> = {}): GpuView {
  return {
    index: 0,
    uuid: 'GPU-0',
    name: 'NVIDIA H100',
    share: 0,
    utilization_percent: 37,
    memory_used: 1e9,
    memory_total: 16e9,
    temperature: 51,
    power: 120,
    power_limit: 300,
    processes: [],
    error: '',
    number: 0,
    mig: '',
    node: '',
    ...more
  };
}

export function snapshot(more: Partial<Snapshot> = {}): Snapshot {
  return {
    type: 'snapshot',
    version: 1,
    seq: 5,
    time: 100,
    runtime: runtime(),
    groups: [],
    edges: [],
    tasks: [],
    workers: [],
    actors: [],
    gpus: [],
    gpu_status: '',
    store: [],
    objects: [],
    errors: [],
    gpu_history: [],
    ...more
  };
}

export function delta(seq: number, more: Partial<Delta> = {}): Delta {
  return {
    type: 'delta',
    seq,
    time: 100 + seq / 10,
    runtime: null,
    groups: [],
    edges: [],
    tasks: [],
    workers: null,
    actors: [],
    gpus: null,
    store: null,
    objects: null,
    errors: [],
    gpu_status: null,
    ...more
  };
}
