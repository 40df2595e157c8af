/** What the panel knows: the connection, the runtimes, and the followed runtime's data. */
import type {
  ActorView,
  EdgeView,
  ErrorView,
  GpuView,
  GroupView,
  ObjectView,
  RuntimeView,
  StoreView,
  TaskView,
  WorkerView
} from '../events';
import type { GpuHistories } from './history';

/** A runtime as the server lists it. */
export interface RuntimeSummary {
  runtime_id: string;
  name: string;
  engine: string;
  pid: number;
  kernel_ids: string[];
  created: number;
}

/** A recording as the server tells it. */
export interface RecordingRow {
  id: string;
  runtime_id: string;
  /** On the server. */
  path: string;
  started: number;
  size: number;
  active: boolean;
  /** Why it ended. */
  reason: string;
  failed: boolean;
}

/** The socket to the Jupyter server. */
export type Link =
  | { state: 'idle' }
  | { state: 'connecting' }
  | { state: 'open' }
  | { state: 'waiting'; seconds: number; reason: string; cause?: Cause };

/** Why there is no connection: no extension, no access, no answer, a server of another version. */
export type Cause = 'extension' | 'access' | 'silent' | 'version';

/** Whether a runtime is there; `ended` keeps the last data on view. */
export type Phase = 'unknown' | 'none' | 'connecting' | 'live' | 'lost' | 'ended';

/** How many tasks of a group had ended at a moment; the base of rates and estimates. */
export interface Sample {
  time: number;
  ended: number;
}

/** The followed runtime, folded from its events. Never changed in place. */
export interface Data {
  seq: number;
  time: number;
  runtime: RuntimeView;
  groups: ReadonlyMap<number, GroupView>;
  edges: ReadonlyMap<string, EdgeView>;
  tasks: ReadonlyMap<string, TaskView>;
  workers: readonly WorkerView[];
  actors: ReadonlyMap<string, ActorView>;
  gpus: readonly GpuView[];
  gpuStatus: string;
  gpuHistory: GpuHistories;
  store: readonly StoreView[];
  objects: readonly ObjectView[];
  errors: readonly ErrorView[];
  samples: ReadonlyMap<number, readonly Sample[]>;
  /** True after an event was missed: the view attaches again. */
  gap: boolean;
}

export interface State {
  link: Link;
  phase: Phase;
  reason: string;
  runtimeId: string;
  runtimes: readonly RuntimeSummary[];
  /** Those that the server makes, and has made: as it says, whoever began or ended them. */
  recordings: readonly RecordingRow[];
  data: Data | null;
  /** True until the server has said anything about the target that is followed now. */
  fresh: boolean;
  /** The kernel or the runtime that is followed, "" for none; null where only the server knows. */
  target: string | null;
}

export const INITIAL: State = {
  link: { state: 'idle' },
  phase: 'unknown',
  reason: '',
  runtimeId: '',
  runtimes: [],
  recordings: [],
  data: null,
  fresh: true,
  target: null
};

export const GROUP_LIMIT = 500;
export const EDGE_LIMIT = 2000;
export const ACTOR_LIMIT = 500;
/** Rates look back this many seconds. */
export const RATE_WINDOW = 12;
