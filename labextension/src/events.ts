// Generated from runtime/fanlight/events.py by labextension/scripts/generate_types.py.
// Do not edit: change the Python definitions and run the script.

export const EVENTS_VERSION = 2;
export const TASK_LIMIT = 2000;
export const ERROR_LIMIT = 200;
export const HISTORY_LIMIT = 600;

export type TaskState =
  | 'PENDING_ARGS'
  | 'PENDING_RESOURCES'
  | 'SUBMITTED'
  | 'RUNNING'
  | 'FINISHED'
  | 'FAILED'
  | 'CANCELLED';

export type ActorState =
  | 'PENDING_ARGS'
  | 'PENDING_CREATION'
  | 'ALIVE'
  | 'RESTARTING'
  | 'DEAD';

export type WorkerState =
  | 'STARTING'
  | 'IDLE'
  | 'BUSY'
  | 'BLOCKED'
  | 'ACTOR'
  | 'DEAD';

export type GroupKind =
  | 'task'
  | 'actor'
  | 'method';

export interface RuntimeView {
  id: string;
  name: string;
  engine: string;
  version: string;
  python: string;
  pid: number;
  started: number;
  total: Record<string, number>;
  available: Record<string, number>;
  drivers: DriverView[];
  memory_used: number;
  memory_limit: number;
  memory_scope: string;
}

export interface DriverView {
  id: string;
  pid: number;
  kernel_id: string;
  job: number;
}

export interface GroupView {
  id: number;
  name: string;
  kind: GroupKind;
  origin: string;
  counts: Partial<Record<TaskState, number>>;
  duration: number;
  first: number;
  last: number;
}

export interface EdgeView {
  source: number;
  target: number;
  count: number;
  kind: 'data' | 'spawn';
  bytes: number;
}

export interface TaskView {
  id: string;
  group: number;
  name: string;
  state: TaskState;
  deps: string[];
  parent: string;
  actor: string;
  worker: string;
  submitted: number;
  started: number;
  finished: number;
  attempt: number;
  error: string;
}

export interface WorkerView {
  id: string;
  pid: number;
  state: WorkerState;
  cpu_percent: number;
  rss: number;
  task: string;
  task_id: string;
  actor: string;
  finished: number;
  gpus: number[];
}

export interface ActorView {
  id: string;
  class_name: string;
  name: string;
  namespace: string;
  state: ActorState;
  worker: string;
  pid: number;
  queued: number;
  finished: number;
  restarts: number;
  death_cause: string;
}

export interface GpuProcessView {
  pid: number;
  memory: number | null;
  task: string;
  task_id: string;
  worker: string;
  actor: string;
  name: string;
}

export interface GpuView {
  index: number;
  uuid: string;
  name: string;
  share: number;
  utilization_percent: number | null;
  memory_used: number | null;
  memory_total: number | null;
  temperature: number | null;
  power: number | null;
  power_limit: number | null;
  processes: GpuProcessView[];
  error: string;
  number: number;
  mig: string;
  node: string;
}

export interface GpuHistory {
  device: string;
  time: number[];
  utilization: Array<number | null>;
  memory: Array<number | null>;
  temperature: Array<number | null>;
  power: Array<number | null>;
}

export interface StoreView {
  time: number;
  capacity: number;
  used: number;
  pinned: number;
  cached: number;
  inline: number;
  spilled: number;
  objects: number;
  spills: number;
  restores: number;
  spill_bytes: number;
  restore_bytes: number;
}

export interface ObjectView {
  id: string;
  size: number;
  stored: boolean;
  creator: string;
  origin: string;
  holders: number;
}

export interface ErrorView {
  task_id: string;
  group: number;
  name: string;
  origin: string;
  time: number;
  message: string;
  traceback: string;
}

export interface Snapshot {
  type: 'snapshot';
  version: number;
  seq: number;
  time: number;
  runtime: RuntimeView;
  groups: GroupView[];
  edges: EdgeView[];
  tasks: TaskView[];
  workers: WorkerView[];
  actors: ActorView[];
  gpus: GpuView[];
  gpu_status: string;
  store: StoreView[];
  objects: ObjectView[];
  errors: ErrorView[];
  gpu_history: GpuHistory[];
}

export interface Delta {
  type: 'delta';
  seq: number;
  time: number;
  runtime: RuntimeView | null;
  groups: GroupView[];
  edges: EdgeView[];
  tasks: TaskView[];
  workers: WorkerView[] | null;
  actors: ActorView[];
  gpus: GpuView[] | null;
  store: StoreView | null;
  objects: ObjectView[] | null;
  errors: ErrorView[];
  gpu_status: string | null;
}

export interface Ended {
  type: 'ended';
  reason: string;
}

export type Event = Snapshot | Delta | Ended;
