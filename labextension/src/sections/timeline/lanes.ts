/**
 * Spans in lanes: one for each worker process, and of an actor one for each of its methods. What runs
 * beside each other in a lane stands in rows; in a row nothing overlaps, so that it can be searched.
 */
import type { SpansAnswer } from '../../answers';
import { trans } from '../../i18n';
import { FAILED, RUNNING, type Spans } from './spans';

export const ROWS = 8; // of one lane
export const HIDDEN = 255;
export const METHODS = 12; // lanes of one actor
const SLACK = 1e-6; // seconds that two spans of a process may seem to overlap

/** Spans without overlaps, by time, with running sums. */
export class Row {
  count = 0;
  /** Numbers of the spans. */
  at = new Int32Array(16);
  /** Sums of all before: seconds of work, of reading arguments, of storing results, failures. */
  busy = new Float64Array(17);
  reading = new Float64Array(17);
  storing = new Float64Array(17);
  failed = new Int32Array(17);
  last = -Infinity;

  add(spans: Spans, i: number): void {
    const n = this.count;
    if (n + 2 > this.at.length) {
      this.grow();
    }
    this.at[n] = i;
    this.busy[n + 1] = this.busy[n] + (spans.end[i] - spans.start[i]);
    this.reading[n + 1] = this.reading[n] + spans.reading[i];
    this.storing[n + 1] = this.storing[n] + spans.storing[i];
    this.failed[n + 1] = this.failed[n] + (spans.flags[i] & FAILED);
    this.last = Math.max(this.last, spans.end[i]);
    this.count = n + 1;
  }

  /** The first span that ends after `time`. */
  endingAfter(spans: Spans, time: number): number {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans.end[this.at[middle]] > time) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  /** The first span from number `low` on that starts at `time` or later. */
  startingFrom(spans: Spans, time: number, low = 0): number {
    // Mostly it is near: steps that double find it sooner than halving the rest.
    let step = 1;
    let high = low;
    while (high < this.count && spans.start[this.at[high]] < time) {
      low = high + 1;
      high += step;
      step *= 2;
    }
    high = Math.min(high, this.count);
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans.start[this.at[middle]] >= time) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  private grow(): void {
    const room = this.at.length * 2;
    const wider = <T extends { set(from: T): void }>(old: T, next: T): T => {
      next.set(old);
      return next;
    };
    this.at = wider(this.at, new Int32Array(room));
    this.busy = wider(this.busy, new Float64Array(room + 1));
    this.reading = wider(this.reading, new Float64Array(room + 1));
    this.storing = wider(this.storing, new Float64Array(room + 1));
    this.failed = wider(this.failed, new Int32Array(room + 1));
  }
}

export interface Lane {
  key: string;
  worker: number;
  pid: number;
  /** Of an actor. */
  actor: boolean;
  /** The methods that stand in it; of a worker of tasks none. */
  groups: number[];
  rows: Row[];
  count: number;
  /** Calls that there was no row for, since too many ran at once. */
  hidden: number;
  /** What runs in it now; numbers of spans. */
  running: number[];
  order: number;
}

/** What living workers are, by their numbers: class, name, GPUs of an actor; pid, id, actor's id. */
export type Living = ReadonlyMap<number, SpansAnswer['lanes'][number]>;
export type Names = ReadonlyMap<number, readonly [string, string, string]>;

export class Lanes {
  readonly all: Lane[] = [];
  private readonly byKey = new Map<string, Lane>();
  private readonly methods = new Map<string, Lane[]>();
  /** Seconds since the epoch; Infinity and -Infinity while there is nothing. */
  begin = Infinity;
  end = -Infinity;
  /** Where each span stands: number of its lane in `all`, and its row, HIDDEN where it has none. */
  lane = new Int32Array(0);
  row = new Uint8Array(0);

  constructor(readonly spans: Spans) {}

  /** Puts the spans from number `first` on in their lanes. */
  add(first: number, names: Names): void {
    const { spans } = this;
    for (const lane of this.all) {
      lane.running.length = 0;
    }
    this.reserve(spans.start.length);
    for (let i = first; i < spans.count; i += 1) {
      const lane = this.laneOf(i, names);
      this.begin = Math.min(this.begin, spans.start[i]);
      this.lane[i] = lane.order;
      if (spans.flags[i] & RUNNING) {
        this.row[i] = Math.min(lane.running.length, Math.max(0, lane.rows.length - 1));
        lane.running.push(i);
        continue;
      }
      this.end = Math.max(this.end, spans.end[i]);
      lane.count += 1;
      let number = lane.rows.findIndex(row => row.last <= spans.start[i] + SLACK);
      if (number < 0 && lane.rows.length < ROWS) {
        number = lane.rows.push(new Row()) - 1;
      }
      if (number < 0) {
        lane.hidden += 1;
        this.row[i] = HIDDEN;
      } else {
        lane.rows[number].add(spans, i);
        this.row[i] = number;
      }
    }
  }

  /** Workers of tasks, then actors; each by number. */
  sorted(): Lane[] {
    return [...this.all].sort(
      (a, b) =>
        Number(a.actor) - Number(b.actor) ||
        a.worker - b.worker ||
        a.pid - b.pid ||
        a.order - b.order
    );
  }

  private reserve(room: number): void {
    if (room > this.row.length) {
      const [lane, row] = [new Int32Array(room), new Uint8Array(room)];
      lane.set(this.lane);
      row.set(this.row);
      this.lane = lane;
      this.row = row;
    }
  }

  private laneOf(i: number, names: Names): Lane {
    const { spans } = this;
    const process = `${spans.worker[i]}:${spans.pid[i]}`;
    const group = spans.group[i];
    const kind = names.get(group)?.[1] ?? 'task';
    if (kind === 'task') {
      return this.byKey.get(process) ?? this.make(process, i, false);
    }
    const key = `${process}:${group}`;
    const known = this.byKey.get(key);
    if (known) {
      return known;
    }
    // A constructor runs once: its class's first method shares its lane.
    const lanes = this.methods.get(process) ?? [];
    this.methods.set(process, lanes);
    const first = lanes[0];
    const alone = first?.groups.length === 1 && isClass(first.groups[0], names);
    let lane = kind === 'actor' || alone ? first : undefined;
    lane ??= lanes.length >= METHODS ? lanes[lanes.length - 1] : undefined;
    if (!lane) {
      lane = this.make(key, i, true);
      lanes.push(lane);
    }
    this.byKey.set(key, lane);
    if (!lane.groups.includes(group)) {
      lane.groups.push(group);
    }
    return lane;
  }

  private make(key: string, i: number, actor: boolean): Lane {
    const lane: Lane = {
      key,
      worker: this.spans.worker[i],
      pid: this.spans.pid[i],
      actor,
      groups: actor ? [this.spans.group[i]] : [],
      rows: [],
      count: 0,
      hidden: 0,
      running: [],
      order: this.all.length
    };
    this.byKey.set(key, lane);
    this.all.push(lane);
    return lane;
  }
}

function isClass(group: number, names: Names): boolean {
  return names.get(group)?.[1] === 'actor';
}

/** What people call a lane: "worker 2", "Counter.add". */
export function laneName(lane: Lane, names: Names, living: Living): string {
  if (!lane.actor) {
    return trans.__('worker %1', lane.worker);
  }
  const methods = lane.groups.filter(g => !isClass(g, names));
  const shown = names.get(methods[0] ?? lane.groups[0])?.[0] ?? trans.__('actor');
  const own = living.get(lane.worker)?.[1] ?? '';
  const name = methods.length > 1 ? `${shown} +${methods.length - 1}` : shown;
  return own ? `${own}: ${name}` : name;
}
