/**
 * The critical path: the chain of tasks that decided when a run was over. It is walked backwards from
 * the task that ended last. Each task started when the last of three things was so: it had been
 * submitted, its last argument had come, and a worker was free; that one leads to the step before.
 * Pure.
 */
import { unhex } from '../../model/bytes';
import { GATE, ID, RUNNING, type Spans } from './spans';

/**
 * What a step had waited for: an argument, a worker that was busy, the program (or the task) that
 * submitted it late, an attempt of its own that failed; nothing, it is the first.
 */
export type Cause = 'argument' | 'worker' | 'program' | 'parent' | 'retry' | 'first';

/** A part of a task's time that is on the path, and what it had waited for before. */
export interface Step {
  span: number;
  from: number;
  to: number;
  cause: Cause;
  /** Seconds between the end of the step before and `from`. */
  gap: number;
}

export interface Path {
  /** In the order of time. */
  steps: Step[];
  begin: number;
  end: number;
  /** Seconds in tasks, and those of them that reading arguments and storing results took. */
  running: number;
  reading: number;
  storing: number;
  /** Seconds between the steps, by what was waited for. */
  gaps: Record<Cause, number>;
  /** How often each cause led from one step to the next. */
  links: Record<Cause, number>;
  /** Seconds in tasks by group, the largest first. */
  groups: Array<{ group: number; seconds: number; steps: number }>;
  /** About how long it would have taken had there always been a free worker. */
  unlimited: number;
}

const SLACK = 1e-3; // seconds that an effect may seem to come before its cause
const MOST = 50_000; // steps

/** `wanted` is the span to explain; by default the one that ended last. Null where nothing has. */
export function criticalPath(
  spans: Spans,
  clients: ReadonlyMap<string, number> = new Map(),
  wanted = -1
): Path | null {
  const last = wanted >= 0 ? wanted : latest(spans);
  if (last < 0 || last >= spans.count) {
    return null;
  }
  const causes = new Causes(spans, clients);
  const steps: Step[] = [];
  const seen = new Set<number>();
  let span = last;
  let until = spans.end[last];
  while (steps.length < MOST) {
    // A task that submits others is taken to wait for them.
    const child = causes.childBefore(span, until);
    if (child >= 0) {
      const back = spans.end[child];
      steps.push({ span, from: back, to: until, cause: 'argument', gap: 0 });
      span = child;
      until = back;
      continue;
    }
    const from = Math.min(spans.start[span], until);
    seen.add(span);
    let { cause, before, at } = causes.of(span);
    if (cause !== 'parent' && seen.has(before)) {
      // Only clocks that go wrong make a circle.
      [cause, before, at] = ['first', -1, from];
    }
    const gap = before < 0 ? 0 : Math.max(0, from - Math.min(at, from));
    steps.push({ span, from, to: until, cause, gap });
    if (before < 0) {
      break;
    }
    span = before;
    until = Math.min(at, from);
  }
  steps.reverse();
  return summary(spans, steps, causes, wanted);
}

function latest(spans: Spans): number {
  let best = -1;
  for (let i = 0; i < spans.count; i += 1) {
    if (!(spans.flags[i] & RUNNING) && (best < 0 || spans.end[i] > spans.end[best])) {
      best = i;
    }
  }
  return best;
}

function none(): Record<Cause, number> {
  return { argument: 0, worker: 0, program: 0, parent: 0, retry: 0, first: 0 };
}

function summary(spans: Spans, steps: Step[], causes: Causes, wanted: number): Path {
  const path: Path = {
    steps,
    begin: steps[0].from,
    end: steps[steps.length - 1].to,
    running: 0,
    reading: 0,
    storing: 0,
    gaps: none(),
    links: none(),
    groups: [],
    unlimited: 0
  };
  const groups = new Map<number, { group: number; seconds: number; steps: number }>();
  for (const step of steps) {
    const i = step.span;
    const seconds = step.to - step.from;
    path.running += seconds;
    path.reading += overlap(step, spans.start[i], spans.start[i] + spans.reading[i]);
    path.storing += overlap(step, spans.end[i] - spans.storing[i], spans.end[i]);
    path.gaps[step.cause] += step.gap;
    path.links[step.cause] += 1;
    const row = groups.get(spans.group[i]) ?? { group: spans.group[i], seconds: 0, steps: 0 };
    row.seconds += seconds;
    row.steps += 1;
    groups.set(spans.group[i], row);
  }
  path.groups = [...groups.values()].sort((a, b) => b.seconds - a.seconds || a.group - b.group);
  path.unlimited = Math.min(causes.unlimited(path.begin, wanted), path.end - path.begin);
  return path;
}

function overlap(step: Step, from: number, to: number): number {
  return Math.max(0, Math.min(step.to, to) - Math.max(step.from, from));
}

/** Finds what came before a span: indexes over all spans, made once for a path. */
class Causes {
  private readonly byEnd: Int32Array;
  /** The ends of the spans of each process, by time. */
  private readonly processes = new Map<number, Int32Array>();
  private readonly workers = new Map<number, Int32Array>();
  private readonly byGate: Index;
  private readonly children = new Map<number, number[]>();
  private readonly clients = new Map<number, number>();

  constructor(
    private readonly spans: Spans,
    clients: ReadonlyMap<string, number>
  ) {
    clients.forEach((worker, client) =>
      this.clients.set(low48(unhex(client, CLIENT), CLIENT), worker)
    );
    this.byEnd = Int32Array.from({ length: spans.count }, (_, i) => i).sort(
      (a, b) => spans.end[a] - spans.end[b] || a - b
    );
    const lists = new Map<number, number[]>();
    for (const i of this.byEnd) {
      const key = this.process(i);
      const list = lists.get(key);
      if (list) {
        list.push(i);
      } else {
        lists.set(key, [i]);
      }
    }
    for (const [key, list] of lists) {
      const sorted = Int32Array.from(list);
      this.processes.set(key, sorted);
      this.workers.set(spans.worker[list[0]], sorted);
    }
    this.byGate = new Index(spans);
    this.noteChildren();
  }

  of(i: number): { cause: Cause; before: number; at: number } {
    const { spans } = this;
    const start = spans.start[i];
    if (spans.attempt[i] > 0) {
      const before = this.byGate.attempt(i, spans.attempt[i] - 1);
      if (before >= 0 && spans.end[before] <= start + SLACK) {
        return { cause: 'retry', before, at: spans.end[before] };
      }
    }
    const submitted = spans.submitted(i);
    const gate = this.byGate.gate(i);
    const argument =
      gate >= 0 && spans.end[gate] <= start + SLACK ? spans.end[gate] : -Infinity;
    const list = this.processes.get(this.process(i)) ?? new Int32Array(0);
    const busy = this.lastBefore(list, start + SLACK, i);
    const ready = Math.max(submitted, argument);
    if (busy >= 0 && spans.end[busy] > ready) {
      return { cause: 'worker', before: busy, at: spans.end[busy] };
    }
    if (argument > -Infinity && argument >= submitted - SLACK) {
      return { cause: 'argument', before: gate, at: argument };
    }
    const parent = this.parentOf(i);
    if (parent >= 0) {
      return { cause: 'parent', before: parent, at: Math.min(submitted, start) };
    }
    const before = this.lastBefore(this.byEnd, submitted + SLACK, i);
    if (before >= 0) {
      return { cause: 'program', before, at: spans.end[before] };
    }
    return { cause: 'first', before: -1, at: start };
  }

  /** The last task that `i` had submitted and that ended in its time, before `until`; -1. */
  childBefore(i: number, until: number): number {
    const { spans } = this;
    const list = this.children.get(i);
    if (!list) {
      return -1;
    }
    let best = -1;
    for (const child of list) {
      const end = spans.end[child];
      // Strictly earlier, so that the walk comes to an end.
      if (end < until && end > spans.start[i] && (best < 0 || end > spans.end[best])) {
        best = child;
      }
    }
    return best;
  }

  /** Seconds from `begin` to the end of `wanted`, or of all, had each task run as soon as it could. */
  unlimited(begin: number, wanted: number): number {
    const { spans } = this;
    const ended = new Float64Array(spans.count).fill(NaN);
    let last = 0;
    const inOrder = Int32Array.from(this.byEnd).sort(
      (a, b) => spans.start[a] - spans.start[b] || a - b
    );
    for (const i of inOrder) {
      let ready = Math.max(0, spans.submitted(i) - begin);
      const gate = this.byGate.gate(i);
      if (gate >= 0 && !Number.isNaN(ended[gate])) {
        ready = Math.max(ready, ended[gate]);
      }
      const before = spans.attempt[i] > 0 ? this.byGate.attempt(i, spans.attempt[i] - 1) : -1;
      if (before >= 0 && !Number.isNaN(ended[before])) {
        ready = Math.max(ready, ended[before]);
      }
      ended[i] = Math.min(ready, spans.start[i] - begin) + (spans.end[i] - spans.start[i]);
      if (!(spans.flags[i] & RUNNING)) {
        last = Math.max(last, ended[i]);
      }
    }
    return wanted >= 0 ? ended[wanted] : last;
  }

  private process(i: number): number {
    return this.spans.worker[i] * 2 ** 22 + this.spans.pid[i]; // no pid is larger
  }

  /** The one of a list by end that ended last, `time` or before, and began before `i` did. */
  private lastBefore(list: Int32Array, time: number, i: number): number {
    const { spans } = this;
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans.end[list[middle]] > time) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    for (let k = low - 1; k >= 0; k -= 1) {
      const found = list[k];
      if (found !== i && spans.start[found] < spans.start[i]) {
        return found;
      }
    }
    return -1;
  }

  private noteChildren(): void {
    if (this.clients.size === 0) {
      return;
    }
    for (let i = 0; i < this.spans.count; i += 1) {
      const parent = this.parentOf(i);
      if (parent >= 0) {
        const list = this.children.get(parent);
        if (list) {
          list.push(i);
        } else {
          this.children.set(parent, [i]);
        }
      }
    }
  }

  /** The task that ran in the submitting worker when this one was submitted; -1. */
  private parentOf(i: number): number {
    const { spans } = this;
    if (this.clients.size === 0) {
      return -1;
    }
    const worker = this.clients.get(low48(spans.ids, i * ID + CLIENT));
    const list = worker === undefined ? undefined : this.workers.get(worker);
    if (!list) {
      return -1;
    }
    const time = spans.submitted(i);
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans.end[list[middle]] >= time) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    const found = low < list.length ? list[low] : -1;
    return found >= 0 && found !== i && spans.start[found] <= time + SLACK ? found : -1;
  }
}

const CLIENT = 16; // bytes that the ids of a client's tasks begin with

/** Spans by the end of their task's id. */
class Index {
  private readonly newest = new Map<number, number>();
  /** The one before with the same number. */
  private readonly older: Int32Array;

  constructor(private readonly spans: Spans) {
    this.older = new Int32Array(spans.count).fill(-1);
    for (let i = 0; i < spans.count; i += 1) {
      const key = low48(spans.ids, i * ID + ID);
      this.older[i] = this.newest.get(key) ?? -1;
      this.newest.set(key, i);
    }
  }

  /** The span whose result came last of what `i` waited for, -1 for none. */
  gate(i: number): number {
    const { gates, ids } = this.spans;
    const at = i * GATE;
    let zero = true;
    for (let k = 0; k < GATE && zero; k += 1) {
      zero = gates[at + k] === 0;
    }
    if (zero) {
      return -1;
    }
    let found = this.newest.get(low48(gates, at + GATE)) ?? -1;
    while (found >= 0 && !same(gates, at, ids, found * ID + ID - GATE, GATE)) {
      found = this.older[found];
    }
    return found;
  }

  attempt(i: number, attempt: number): number {
    const { ids } = this.spans;
    let found = this.newest.get(low48(ids, i * ID + ID)) ?? -1;
    while (
      found >= 0 &&
      (this.spans.attempt[found] !== attempt || !same(ids, i * ID, ids, found * ID, ID))
    ) {
      found = this.older[found];
    }
    return found;
  }
}

/** The last six bytes before `end` as a number. */
function low48(bytes: Uint8Array, end: number): number {
  let value = 0;
  for (let k = end - 6; k < end; k += 1) {
    value = value * 256 + bytes[k];
  }
  return value;
}

function same(a: Uint8Array, from: number, b: Uint8Array, at: number, length: number): boolean {
  for (let k = 0; k < length; k += 1) {
    if (a[from + k] !== b[at + k]) {
      return false;
    }
  }
  return true;
}
