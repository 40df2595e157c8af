/**
 * The tasks of one group as columns of numbers, which follow the runtime's: each task has a slot, and
 * an answer tells the slots that changed. Twenty thousand tasks are a few typed arrays here, not
 * objects. Pure.
 */
import type { TaskColumns } from '../../answers';
import type { TaskState, TaskView } from '../../events';
import { hex, unbase64, unhex } from '../bytes';
import type { Stage } from '../selectors';

/** An answer to `group_tasks`, but whose it is. */
export type ColumnsAnswer = Omit<TaskColumns, 'group'>;

/** States by their code, as the runtime numbers them. */
export const STATES: readonly TaskState[] = [
  'PENDING_ARGS',
  'PENDING_RESOURCES',
  'SUBMITTED',
  'RUNNING',
  'FINISHED',
  'FAILED',
  'CANCELLED'
];

/** Colours by their code; the renderer's palette is in this order. */
export const STAGE_CODES: readonly Stage[] = [
  'pending',
  'running',
  'done',
  'failed',
  'cancelled'
];
export const STAGE_OF_STATE = Uint8Array.from([0, 0, 0, 1, 2, 3, 4]);

const ID = 24; // bytes

/** One task, read out of the columns. */
export interface Row {
  index: number;
  id: string;
  state: TaskState;
  stage: Stage;
  depth: number;
  /** The number of its worker, 0 for none. */
  worker: number;
  submitted: number;
  started: number;
  finished: number;
}

export class Columns {
  count = 0;
  cursor = 0;
  total = 0;
  ids = new Uint8Array(0);
  state = new Uint8Array(0);
  depth = new Uint16Array(0);
  worker = new Uint32Array(0);
  submitted = new Float64Array(0);
  started = new Float64Array(0);
  finished = new Float64Array(0);
  /** Counts up with each change of anything. */
  version = 0;
  /** Counts up when places may have changed: there are more tasks, or other ones. */
  shape = 0;

  /** Takes an answer over. True if it changed anything. */
  take(answer: ColumnsAnswer): boolean {
    const slot = new Uint32Array(unbase64(answer.slot).buffer);
    this.cursor = answer.cursor;
    this.total = answer.total;
    if (slot.length === 0 && answer.slots === this.count && !answer.reset) {
      return false;
    }
    const ids = unbase64(answer.ids);
    const state = unbase64(answer.state);
    const depth = new Uint16Array(unbase64(answer.depth).buffer);
    const worker = new Uint32Array(unbase64(answer.worker).buffer);
    const submitted = new Float64Array(unbase64(answer.submitted).buffer);
    const started = new Float64Array(unbase64(answer.started).buffer);
    const finished = new Float64Array(unbase64(answer.finished).buffer);
    this.reserve(answer.slots);
    let moved = answer.slots !== this.count || answer.reset;
    for (let k = 0; k < slot.length; k++) {
      const i = slot[k];
      if (i >= answer.slots) {
        continue; // an answer that contradicts itself
      }
      moved ||= this.submitted[i] !== submitted[k] || this.depth[i] !== depth[k];
      this.ids.set(ids.subarray(k * ID, (k + 1) * ID), i * ID);
      this.state[i] = state[k];
      this.depth[i] = depth[k];
      this.worker[i] = worker[k];
      this.submitted[i] = submitted[k];
      this.started[i] = started[k];
      this.finished[i] = finished[k];
    }
    this.count = answer.slots;
    this.version += 1;
    this.shape += moved ? 1 : 0;
    return true;
  }

  /** Instead of an answer, where nobody can be asked: the tasks that were heard of. */
  replace(tasks: readonly TaskView[], total: number): void {
    this.reserve(tasks.length);
    const places = new Map<string, number>();
    tasks.forEach((task, i) => {
      places.set(task.id, i);
      this.ids.set(unhex(task.id), i * ID);
      this.state[i] = Math.max(0, STATES.indexOf(task.state));
      this.depth[i] = task.deps.reduce((deep, dep) => {
        const at = places.get(dep);
        return at === undefined ? deep : Math.max(deep, this.depth[at] + 1);
      }, 0);
      this.worker[i] = workerNumber(task.worker);
      this.submitted[i] = task.submitted;
      this.started[i] = task.started;
      this.finished[i] = task.finished;
    });
    this.count = tasks.length;
    this.total = Math.max(total, tasks.length);
    this.version += 1;
    this.shape += 1;
  }

  stage(i: number): number {
    return STAGE_OF_STATE[this.state[i]] ?? 0;
  }

  row(i: number): Row {
    return {
      index: i,
      id: this.idOf(i),
      state: STATES[this.state[i]] ?? 'PENDING_ARGS',
      stage: STAGE_CODES[this.stage(i)],
      depth: this.depth[i],
      worker: this.worker[i],
      submitted: this.submitted[i],
      started: this.started[i],
      finished: this.finished[i]
    };
  }

  idOf(i: number): string {
    return hex(this.ids.subarray(i * ID, (i + 1) * ID));
  }

  /** The place of a task; -1 if it is not here. */
  indexOf(id: string): number {
    const wanted = unhex(id);
    if (wanted.length !== ID) {
      return -1;
    }
    for (let i = 0; i < this.count; i++) {
      let k = ID - 1; // ids differ at their ends
      while (k >= 0 && this.ids[i * ID + k] === wanted[k]) {
        k -= 1;
      }
      if (k < 0) {
        return i;
      }
    }
    return -1;
  }

  private reserve(wanted: number): void {
    if (wanted <= this.state.length) {
      return;
    }
    const size = Math.max(256, wanted, Math.min(2 * this.state.length, 20_000));
    this.ids = grown(this.ids, new Uint8Array(size * ID));
    this.state = grown(this.state, new Uint8Array(size));
    this.depth = grown(this.depth, new Uint16Array(size));
    this.worker = grown(this.worker, new Uint32Array(size));
    this.submitted = grown(this.submitted, new Float64Array(size));
    this.started = grown(this.started, new Float64Array(size));
    this.finished = grown(this.finished, new Float64Array(size));
  }
}

/** A worker's id ends with its number; 0 for none. */
export function workerNumber(id: string): number {
  return parseInt(id.slice(-8), 16) || 0;
}

type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

function grown<A extends Column>(old: A, next: A): A {
  next.set(old as never);
  return next;
}
