/**
 * When tasks ran, as columns: the packed records of `runtime/fanlight/core/timeline.py`, decoded.
 * No object per task, so that a hundred thousand of them cost ten megabytes. No DOM in here.
 */
import type { SpansAnswer } from '../../answers';
import { hex, unhex } from '../../model/bytes';

export type RunningRow = SpansAnswer['running'][number];

export const LIMIT = 100_000;
export const FAILED = 1;
export const WAITED = 2;
export const RUNNING = 4; // of this module's own: it has not ended

export const ID = 24;
export const GATE = 12;
const LEAST = 68; // bytes of a record before gates

export class Spans {
  count = 0;
  /** How many were dropped here, the oldest ones. */
  dropped = 0;
  start = new Float64Array(0);
  end = new Float64Array(0);
  group = new Int32Array(0);
  worker = new Int32Array(0);
  pid = new Int32Array(0);
  attempt = new Uint16Array(0);
  flags = new Uint8Array(0);
  reading = new Float32Array(0);
  storing = new Float32Array(0);
  /** From submission to start. */
  waited = new Float32Array(0);
  size = new Float32Array(0);
  ids = new Uint8Array(0);
  /** Of the task whose result was the last argument to come: the end of its id; zeros for none. */
  gates = new Uint8Array(0);

  constructor(readonly limit = LIMIT) {}

  /** Takes in the records of a page; how many there were. */
  append(records: Uint8Array, record: number): number {
    const added = record >= LEAST ? Math.floor(records.length / record) : 0;
    this.reserve(this.count + added);
    const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
    for (let n = 0, at = 0; n < added; n += 1, at += record) {
      const i = this.count + n;
      const start = view.getFloat64(at + 40, true);
      this.group[i] = view.getUint32(at + 24, true);
      this.worker[i] = view.getUint32(at + 28, true);
      this.pid[i] = view.getUint32(at + 32, true);
      this.attempt[i] = view.getUint16(at + 36, true);
      this.flags[i] = view.getUint16(at + 38, true) & (FAILED | WAITED);
      this.start[i] = start;
      this.end[i] = start + Math.max(0, view.getFloat32(at + 48, true));
      this.reading[i] = view.getFloat32(at + 52, true);
      this.storing[i] = view.getFloat32(at + 56, true);
      this.waited[i] = Math.max(0, view.getFloat32(at + 60, true));
      this.size[i] = view.getFloat32(at + 64, true);
      this.ids.set(records.subarray(at, at + ID), i * ID);
      if (record >= LEAST + GATE) {
        this.gates.set(records.subarray(at + LEAST, at + LEAST + GATE), i * GATE);
      }
    }
    this.count += added;
    return added;
  }

  /** What runs now, after all that has ended; `settle` takes it away again. */
  addRunning(rows: readonly RunningRow[], now: number): void {
    this.reserve(this.count + rows.length);
    for (const row of rows) {
      const [task, group, worker, pid, attempt, start, submitted, gate] = row;
      const i = this.count;
      this.group[i] = group;
      this.worker[i] = worker;
      this.pid[i] = pid;
      this.attempt[i] = attempt;
      this.flags[i] = RUNNING;
      this.start[i] = start;
      this.end[i] = Math.max(start, now);
      this.reading[i] = this.storing[i] = this.size[i] = 0;
      this.waited[i] = submitted > 0 ? Math.max(0, start - submitted) : 0;
      this.ids.set(unhex(task, ID), i * ID);
      this.gates.set(unhex(gate, GATE), i * GATE);
      this.count += 1;
    }
  }

  /** Forget the spans from number `count` on: those that ran when they were taken in. */
  settle(count: number): void {
    this.count = Math.min(this.count, count);
  }

  /** True after the oldest were dropped, since there were many more than the limit: indexes moved. */
  trim(): boolean {
    if (this.count <= this.limit * 1.2) {
      return false;
    }
    const over = this.count - this.limit;
    for (const column of this.columns()) {
      column.copyWithin(0, over, this.count);
    }
    this.ids.copyWithin(0, over * ID, this.count * ID);
    this.gates.copyWithin(0, over * GATE, this.count * GATE);
    this.count -= over;
    this.dropped += over;
    return true;
  }

  /** The task's id, as the runtime and the other sections write it. */
  id(i: number): string {
    return hex(this.ids.subarray(i * ID, i * ID + ID));
  }

  /** The newest attempt of a task, -1 if it is not among these. */
  find(id: string): number {
    const wanted = unhex(id, ID);
    next: for (let i = this.count - 1; i >= 0; i -= 1) {
      for (let k = ID - 1; k >= 0; k -= 1) {
        if (this.ids[i * ID + k] !== wanted[k]) {
          continue next;
        }
      }
      return i;
    }
    return -1;
  }

  submitted(i: number): number {
    return this.start[i] - this.waited[i];
  }

  private columns(): Array<
    Float64Array | Float32Array | Int32Array | Uint16Array | Uint8Array
  > {
    return [
      ...[this.start, this.end, this.reading, this.storing, this.waited, this.size],
      ...[this.group, this.worker, this.pid, this.attempt, this.flags]
    ];
  }

  private reserve(count: number): void {
    if (count <= this.start.length) {
      return;
    }
    const room = Math.max(count, 1024, Math.ceil(this.start.length * 1.5));
    this.start = grown(this.start, new Float64Array(room));
    this.end = grown(this.end, new Float64Array(room));
    this.group = grown(this.group, new Int32Array(room));
    this.worker = grown(this.worker, new Int32Array(room));
    this.pid = grown(this.pid, new Int32Array(room));
    this.attempt = grown(this.attempt, new Uint16Array(room));
    this.flags = grown(this.flags, new Uint8Array(room));
    this.reading = grown(this.reading, new Float32Array(room));
    this.storing = grown(this.storing, new Float32Array(room));
    this.waited = grown(this.waited, new Float32Array(room));
    this.size = grown(this.size, new Float32Array(room));
    this.ids = grown(this.ids, new Uint8Array(room * ID));
    this.gates = grown(this.gates, new Uint8Array(room * GATE));
  }
}

interface Column<T> {
  set(from: T): void;
}

function grown<T extends Column<T>>(old: T, next: T): T {
  next.set(old);
  return next;
}
