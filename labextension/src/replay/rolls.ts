/**
 * The tasks of one group at a moment, as the columns that a runtime answers to `group_tasks`. Each
 * task has the same slot at every moment, so nothing moves when the moment changes.
 */
import type { TaskState, TaskView } from '../events';
import type { TaskColumns } from '../answers';
import { unhex } from '../model/bytes';
import { STATES, workerNumber } from '../model/graph/columns';
import { packed, type Spans } from './spans';

const SLOTS = 20_000;
const ANSWERS = 8; // moments that are remembered, to tell only what changed since one of them
const code = (state: TaskState): number => STATES.indexOf(state);
const UNKNOWN = 255;

interface Member {
  id: string;
  submitted: number;
  started: number;
  finished: number; // Infinity: not in the recording
  over: number; // the state that it ends in
  worker: number;
  depth: number;
}

export class Roll {
  private readonly members: readonly Member[];
  private readonly answered = new Map<number, Uint8Array>();
  private cursor = 0;

  /** `last`: the tasks that the recording ends with, for those that never ended. */
  constructor(
    readonly group: number,
    spans: Spans,
    last: Iterable<TaskView>,
    depths: Depths
  ) {
    const found = new Map<string, Member>();
    for (let i = 0; i < spans.count; i++) {
      if (spans.group[i] !== group) {
        continue;
      }
      const id = spans.id(i);
      const before = found.get(id);
      found.set(id, {
        id,
        submitted: before ? Math.min(before.submitted, spans.submitted[i]) : spans.submitted[i],
        started: spans.start[i],
        finished: spans.end[i],
        over: code(spans.failed[i] ? 'FAILED' : 'FINISHED'),
        worker: spans.worker[i],
        depth: depths.of(id)
      });
    }
    for (const task of last) {
      const ended = task.finished > 0;
      if (task.group === group && !found.has(task.id)) {
        found.set(task.id, {
          id: task.id,
          submitted: task.submitted,
          started: task.started || Infinity,
          finished: ended ? task.finished : Infinity,
          over: ended ? code(task.state) : UNKNOWN,
          worker: workerNumber(task.worker),
          depth: depths.of(task.id)
        });
      }
    }
    this.members = [...found.values()]
      .sort((a, b) => a.submitted - b.submitted || (a.id < b.id ? -1 : 1))
      .slice(-SLOTS);
  }

  /** What changed since the answer with the cursor `after`; all if that is not known any more. */
  answer(
    after: number,
    time: number,
    now: ReadonlyMap<string, TaskView>,
    total: number
  ): TaskColumns {
    const members = this.members;
    const states = new Uint8Array(members.length).fill(UNKNOWN);
    let slots = 0;
    while (slots < members.length && members[slots].submitted <= time) {
      states[slots] = stateAt(members[slots], time, now);
      slots += 1;
    }
    const before = this.answered.get(after);
    const changed: number[] = [];
    for (let i = 0; i < slots; i++) {
      if (before === undefined || before[i] !== states[i]) {
        changed.push(i);
      }
    }
    this.cursor += 1;
    this.answered.set(this.cursor, states);
    this.answered.delete(this.cursor - ANSWERS);
    const ids = new Uint8Array(changed.length * 24);
    changed.forEach((i, k) => ids.set(unhex(members[i].id), k * 24));
    const told = <T>(
      make: { from(values: number[]): T },
      value: (m: Member, i: number) => number
    ): T => make.from(changed.map(i => value(members[i], i)));
    return {
      group: this.group,
      cursor: this.cursor,
      reset: before === undefined,
      slots,
      total: Math.max(total, slots),
      slot: packed(Uint32Array.from(changed)),
      ids: packed(ids),
      state: packed(told(Uint8Array, (_, i) => states[i])),
      depth: packed(told(Uint16Array, m => Math.min(m.depth, 0xffff))),
      worker: packed(told(Uint32Array, m => (m.started <= time ? m.worker : 0))),
      submitted: packed(told(Float64Array, m => m.submitted)),
      started: packed(told(Float64Array, m => (m.started <= time ? m.started : 0))),
      finished: packed(told(Float64Array, m => (m.finished <= time ? m.finished : 0)))
    };
  }
}

function stateAt(member: Member, time: number, now: ReadonlyMap<string, TaskView>): number {
  if (member.finished <= time && member.over !== UNKNOWN) {
    return member.over;
  }
  if (member.started <= time) {
    return code('RUNNING');
  }
  const state = now.get(member.id)?.state;
  return state && code(state) < code('RUNNING') ? code(state) : code('PENDING_RESOURCES');
}

/** On how many tasks in a row each depends, as far as the recording says. */
export class Depths {
  private readonly before = new Map<string, string[]>();
  private readonly known = new Map<string, number>();

  constructor(spans: Spans, tasks: Iterable<TaskView>) {
    const ends = new Map<string, string>();
    for (let i = 0; i < spans.count; i++) {
      const id = spans.id(i);
      ends.set(id.slice(24), id);
    }
    for (let i = 0; i < spans.count; i++) {
      const gate = ends.get(spans.gate(i));
      if (gate !== undefined) {
        this.before.set(spans.id(i), [gate]);
      }
    }
    for (const task of tasks) {
      if (task.deps.length) {
        this.before.set(task.id, task.deps);
      }
    }
  }

  of(task: string): number {
    // Without recursion: chains may be long. `path` holds what waits for the depth of another.
    const path = this.known.has(task) ? [] : [task];
    const waiting = new Set(path);
    while (path.length) {
      const id = path[path.length - 1];
      const before = this.before.get(id) ?? [];
      const missing = before.find(d => !this.known.has(d) && !waiting.has(d));
      if (missing !== undefined) {
        path.push(missing);
        waiting.add(missing);
        continue;
      }
      this.known.set(id, Math.max(0, ...before.map(d => (this.known.get(d) ?? 0) + 1)));
      waiting.delete(id);
      path.pop();
    }
    return this.known.get(task) ?? 0;
  }
}
