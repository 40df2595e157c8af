// Generated from runtime/fanlight/answers.py and observe/questions.py by
// labextension/scripts/generate_types.py. Do not edit: change the Python definitions and run the script.
import type {
  ActorView,
  GroupView,
  TaskState,
  TaskView,
  WorkerView
} from './events';

/** Base64 of bytes; numbers in them are little-endian. */
export type Base64 = string;

export interface QueryTask {
  what: 'task';
  id: string;
}

export interface QueryWhy {
  what: 'why';
  id: string;
}

export interface QueryActor {
  what: 'actor';
  id: string;
}

export interface QueryWorker {
  what: 'worker';
  id: string;
}

export interface QueryGroupTasks {
  what: 'group_tasks';
  group: number;
  after?: number;
  limit?: number | null;
}

export interface QueryNeighbours {
  what: 'neighbours';
  id: string;
  radius?: number;
}

export interface QuerySpans {
  what: 'spans';
  after?: number;
}

export interface QueryObjects {
  what: 'objects';
  sort?: 'age' | 'creator' | 'holders' | 'size' | 'type';
  limit?: number;
}

export interface QueryLogs {
  what: 'logs';
  worker?: string | null;
  task?: string | null;
  cell?: string | null;
  after?: number;
  search?: string;
  limit?: number;
}

export interface QueryErrors {
  what: 'errors';
}

export interface CancelTask {
  action: 'cancel';
  task: string;
  force?: boolean;
}

export interface CancelGroups {
  action: 'cancel_groups';
  groups: number[];
  force?: boolean;
}

export interface KillActor {
  action: 'kill_actor';
  actor: string;
}

export interface Scale {
  action: 'scale';
  cpus: number;
}

export interface ShutDown {
  action: 'shutdown';
}

export type Query =
  | QueryTask
  | QueryWhy
  | QueryActor
  | QueryWorker
  | QueryGroupTasks
  | QueryNeighbours
  | QuerySpans
  | QueryObjects
  | QueryLogs
  | QueryErrors;

export type Command =
  | CancelTask
  | CancelGroups
  | KillActor
  | Scale
  | ShutDown;

export interface WhyLine {
  depth: number;
  label: string;
  text: string;
  task: string;
}

export interface WhyAnswer {
  sentence: string;
  lines: WhyLine[];
}

export interface ArgumentView {
  id: string;
  task: string;
  name: string;
  state: string;
  size: number;
  place: string;
}

export interface AttemptView {
  attempt: number;
  pid: number;
  worker: number;
  started: number;
  finished: number;
  error: string;
  ok: boolean;
}

export interface TaskTimes {
  waited: number;
  reading: number;
  running: number;
  storing: number;
  size: number;
}

export interface TaskAnswer {
  task: TaskView;
  why: string;
  lines: WhyLine[];
  traceback: string;
  deps: string[];
  arguments: ArgumentView[];
  results: ArgumentView[];
  attempts: AttemptView[];
  times: TaskTimes | null;
  origin: string;
  pid: number;
  worker: number;
  site: string;
  forgotten: boolean;
}

export interface ActorAnswer {
  actor: ActorView;
  why: string;
  lines: WhyLine[];
  origin: string;
  resources: Record<string, number>;
  gpus: number[];
  methods: GroupView[];
  waiting: TaskView[];
  detached: boolean;
}

export interface WorkerAnswer {
  worker: WorkerView | null;
  number: number;
  how: string;
  created: number;
  ended: number;
  recent: TaskView[];
  queue: TaskView[];
  resources: Record<string, number>;
  blocked: number;
}

export interface TaskColumns {
  group: number;
  cursor: number;
  reset: boolean;
  slots: number;
  total: number;
  slot: Base64;
  ids: Base64;
  state: Base64;
  depth: Base64;
  worker: Base64;
  submitted: Base64;
  started: Base64;
  finished: Base64;
}

export interface LinkView {
  source: string;
  target: string;
  kind: 'data' | 'spawn';
  size: number;
}

export interface NeighboursAnswer {
  tasks: TaskView[];
  values: ArgumentView[];
  links: LinkView[];
  whole: boolean;
}

export interface SpansAnswer {
  records: Base64;
  record: number;
  next: number;
  reset: boolean;
  more: boolean;
  forgotten: number;
  now: number;
  names: Record<number, [string, string, string]>;
  running: Array<[string, number, number, number, number, number, number, string]>;
  lanes: Record<number, [string, string, number[], number, string, string]>;
  clients: Record<number, string>;
}

export interface HolderView {
  role: string;
  pid: number;
  what: string;
}

export interface ObjectRow {
  id: string;
  size: number;
  state: string;
  place: string;
  type: string;
  creator: string;
  origin: string;
  file: string;
  line: number;
  made: number;
  holders: HolderView[];
  holders_count: number;
  mapped: HolderView[];
  pins: number;
  used_by: string[];
  variables: string[];
  why: string;
  release: string;
}

export interface MakerView {
  creator: string;
  origin: string;
  count: number;
  size: number;
}

export interface StoreFacts {
  capacity: number;
  used: number;
  reserved: number;
  mapped: number;
  cached: number;
  spilled: number;
  spilled_total: number;
  restored_total: number;
  inline: number;
  objects: number;
  segments: number;
  lineage: number;
}

export interface ObjectsAnswer {
  now: number;
  store: StoreFacts;
  rows: ObjectRow[];
  makers: MakerView[];
  count: number;
  size: number;
  small: number;
}

export interface CauseView {
  id: string;
  kind: string;
  message: string;
  name: string;
  group: number;
  origin: string;
  file: string;
  line: number;
  function: string;
  count: number;
  first: number;
  last: number;
  tasks: string[];
  traceback: string;
}

export interface ErrorsAnswer {
  causes: CauseView[];
  count: number;
}

export interface LogLine {
  time: number;
  worker: string;
  pid: number;
  stream: 'err' | 'log' | 'out';
  task: string;
  name: string;
  origin: string;
  text: string;
}

export interface LogsAnswer {
  lines: LogLine[];
  cursor: number;
  reset: boolean;
  more: boolean;
  note: string;
}

export interface Named {
  name: string;
  group: number;
  origin: string;
  state: TaskState | null;
}
