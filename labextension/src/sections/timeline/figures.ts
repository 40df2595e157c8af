/** Figures of a stretch of time: how busy the workers were, with what, and how many tasks waited. Pure. */
import type { Lane, Lanes, Row } from './lanes';
import type { Spans } from './spans';

export interface Figures {
  /** Seconds on view in which something was there to see. */
  seconds: number;
  lanes: number;
  tasks: number;
  failed: number;
  /** Seconds of work, added over lanes, and those of them spent reading and storing. */
  busy: number;
  reading: number;
  storing: number;
  /** Seconds in which a worker was there and did nothing. */
  idle: number;
}

/** Of what is between two moments, from the running sums of rows: quick, however many spans. */
export function figures(lanes: Lanes, begin: number, end: number, now: number): Figures {
  const found: Figures = {
    seconds: 0,
    lanes: 0,
    tasks: 0,
    failed: 0,
    busy: 0,
    reading: 0,
    storing: 0,
    idle: 0
  };
  const from = Math.max(begin, lanes.begin);
  const to = Math.min(end, Math.max(lanes.end, now));
  if (!(to > from)) {
    return found;
  }
  found.seconds = to - from;
  // Lanes of one actor are one process: it is idle only when none of its methods runs.
  const processes = new Map<number, { busy: number; alive: [number, number] }>();
  for (const lane of lanes.all) {
    const one = ofLane(lanes.spans, lane, from, to);
    found.tasks += one.tasks;
    found.failed += one.failed;
    found.busy += one.busy;
    found.reading += one.reading;
    found.storing += one.storing;
    const key = lane.worker * 2 ** 22 + lane.pid;
    const process = processes.get(key) ?? { busy: 0, alive: [Infinity, -Infinity] };
    process.busy += one.busy;
    process.alive[0] = Math.min(process.alive[0], one.first);
    process.alive[1] = Math.max(process.alive[1], one.last);
    processes.set(key, process);
  }
  for (const { busy, alive } of processes.values()) {
    const there = Math.max(0, Math.min(alive[1], to) - Math.max(alive[0], from));
    found.lanes += there > 0 ? 1 : 0;
    found.idle += Math.max(0, there - Math.min(busy, there));
  }
  return found;
}

export interface LaneFigures {
  tasks: number;
  failed: number;
  busy: number;
  reading: number;
  storing: number;
  /** When the lane's first task began and its last one ended, of all times. */
  first: number;
  last: number;
}

export function ofLane(spans: Spans, lane: Lane, from: number, to: number): LaneFigures {
  const found: LaneFigures = {
    tasks: 0,
    failed: 0,
    busy: 0,
    reading: 0,
    storing: 0,
    first: Infinity,
    last: -Infinity
  };
  for (const row of lane.rows) {
    addRow(spans, row, from, to, found);
  }
  for (const i of lane.running) {
    if (spans.start[i] < to && spans.end[i] > from) {
      found.tasks += 1;
      found.busy += Math.min(spans.end[i], to) - Math.max(spans.start[i], from);
    }
    found.first = Math.min(found.first, spans.start[i]);
    found.last = Math.max(found.last, spans.end[i]);
  }
  return found;
}

function addRow(spans: Spans, row: Row, from: number, to: number, found: LaneFigures): void {
  if (row.count === 0) {
    return;
  }
  found.first = Math.min(found.first, spans.start[row.at[0]]);
  found.last = Math.max(found.last, row.last);
  const first = row.endingAfter(spans, from);
  const next = row.startingFrom(spans, to, first);
  if (next <= first) {
    return;
  }
  found.tasks += next - first;
  found.failed += row.failed[next] - row.failed[first];
  found.reading += row.reading[next] - row.reading[first];
  found.storing += row.storing[next] - row.storing[first];
  // Of the first and the last one, only what is inside counts.
  const before = Math.max(0, from - spans.start[row.at[first]]);
  const after = Math.max(0, spans.end[row.at[next - 1]] - to);
  found.busy += Math.max(0, row.busy[next] - row.busy[first] - before - after);
}

/** How many tasks ran, on average, in each of `bins` equal parts of the time. */
export function busyBins(lanes: Lanes, begin: number, end: number, bins: number): Float64Array {
  const found = new Float64Array(bins);
  const per = (end - begin) / bins;
  if (!(per > 0)) {
    return found;
  }
  for (const lane of lanes.all) {
    for (const row of lane.rows) {
      addBins(lanes.spans, row, begin, per, found);
    }
    for (const i of lane.running) {
      spread(lanes.spans.start[i], lanes.spans.end[i], begin, per, found);
    }
  }
  return found;
}

function addBins(
  spans: Spans,
  row: Row,
  begin: number,
  per: number,
  found: Float64Array
): void {
  let k = row.endingAfter(spans, begin);
  for (; k < row.count;) {
    const i = row.at[k];
    const bin = Math.floor((spans.start[i] - begin) / per);
    if (bin >= found.length) {
      return;
    }
    // All that lie in one bin, by the sums; what reaches into the next by itself.
    const edge = begin + (bin + 1) * per;
    const next = row.startingFrom(spans, edge, k + 1);
    if (next - k > 1) {
      const last = row.at[next - 1];
      found[Math.max(0, bin)] += (row.busy[next - 1] - row.busy[k]) / per;
      spread(spans.start[last], spans.end[last], begin, per, found);
    } else {
      spread(spans.start[i], spans.end[i], begin, per, found);
    }
    k = next;
  }
}

function spread(
  from: number,
  to: number,
  begin: number,
  per: number,
  found: Float64Array
): void {
  const first = Math.max(0, Math.floor((from - begin) / per));
  const last = Math.min(found.length - 1, Math.floor((to - begin) / per));
  for (let bin = first; bin <= last; bin += 1) {
    const left = Math.max(from, begin + bin * per);
    const right = Math.min(to, begin + (bin + 1) * per);
    found[bin] += Math.max(0, right - left) / per;
  }
}

/** How many tasks were submitted and did not run yet, at most, in each part of the time. */
export function waitingBins(
  spans: Spans,
  begin: number,
  end: number,
  bins: number,
  pending: readonly number[] = [],
  now = end
): Float64Array {
  const found = new Float64Array(bins);
  const per = (end - begin) / bins;
  if (!(per > 0)) {
    return found;
  }
  const steps = new Float64Array(bins + 1);
  const note = (from: number, to: number): void => {
    const first = Math.max(0, Math.floor((from - begin) / per));
    const last = Math.min(bins - 1, Math.floor((to - begin) / per));
    // Shorter than a part, it hardly waited.
    if (last >= first && to - from >= per * 0.5) {
      steps[first] += 1;
      steps[last + 1] -= 1;
    }
  };
  for (let i = 0; i < spans.count; i += 1) {
    if (spans.waited[i] > 0 && spans.attempt[i] === 0) {
      note(spans.start[i] - spans.waited[i], spans.start[i]);
    }
  }
  pending.forEach(submitted => note(submitted, now));
  let sum = 0;
  for (let bin = 0; bin < bins; bin += 1) {
    sum += steps[bin];
    found[bin] = sum;
  }
  return found;
}
