/** What the charts over time show: histories as series, within a span. Pure. */
import type { GpuView, StoreView } from '../events';
import { deviceKey, type GpuHistories } from './history';

/** One line, or an area above another one. Times are seconds since the epoch. */
export interface Series {
  id: string;
  /** The style sheet's variable that holds its colour. */
  tone: string;
  /** A step stands for the time since the value before. */
  kind: 'line' | 'area' | 'step';
  time: readonly number[];
  /** NaN where nothing is known: the line is broken there. */
  value: readonly number[];
  /** Where an area begins; 0 without. */
  base?: readonly number[];
  dash?: readonly number[];
  hatch?: boolean;
}

/** All that a chart needs to draw. */
export interface Picture {
  series: readonly Series[];
  start: number;
  end: number;
  /** The top of the vertical axis, which begins at 0. */
  top: number;
  /** Drawn across, if it is within sight. */
  limit: number | null;
}

/** At least this many seconds are on view, so that a young runtime does not look old. */
const SHORTEST_SPAN = 20;
/** Seconds without a sample that are a gap, at least. */
const GAP = 5;

/** Bokeh's time axis shows UTC; people want their own time. */
export function localMilliseconds(time: number): number {
  const milliseconds = time * 1000;
  return milliseconds - new Date(milliseconds).getTimezoneOffset() * 60_000;
}

export function fromLocalMilliseconds(local: number): number {
  // The offset is that of the moment itself, but for the hour in which clocks are changed.
  return (local + new Date(local).getTimezoneOffset() * 60_000) / 1000;
}

/** Spans that can be chosen, in seconds; the last is all there is. */
export const SPANS: readonly number[] = [60, 600, 3600, Infinity];

/** Those that show less than all of a history of this many seconds, and all. */
export function spansFor(seconds: number): readonly number[] {
  const useful = SPANS.filter(span => span < seconds * 0.9);
  return useful.length > 0 ? [...useful, Infinity] : [];
}

/** The rows within the last `span` seconds, and the one before, from which the line comes. */
export function within<T extends { time: number }>(
  rows: readonly T[],
  span: number
): readonly T[] {
  const end = rows[rows.length - 1]?.time ?? 0;
  let first = rows.length;
  while (first > 0 && rows[first - 1].time > end - span) {
    first -= 1;
  }
  return rows.slice(Math.max(0, first - 1));
}

function frame(times: readonly number[], end: number, span: number): [number, number] {
  const first = times.length > 0 ? times[0] : end;
  const start = Number.isFinite(span) ? end - span : first;
  return [Math.min(start, end - SHORTEST_SPAN), end];
}

/** Memory that processes map, other memory, and disk, one on the other, against the capacity. */
export function storePicture(store: readonly StoreView[], span: number): Picture {
  const rows = within(store, span);
  const time = rows.map(s => s.time);
  const mapped = rows.map(s => Math.min(s.pinned, s.used));
  const used = rows.map(s => s.used);
  const all = rows.map(s => s.used + s.spilled);
  const now = rows[rows.length - 1];
  const [start, end] = frame(time, now?.time ?? 0, span);
  const top = ceiling(Math.max(0, ...all), now?.capacity ?? 0);
  return {
    series: [
      { id: 'mapped', tone: '--fl-used', kind: 'area', time, value: mapped },
      { id: 'held', tone: '--fl-held', kind: 'area', time, value: used, base: mapped },
      {
        id: 'disk',
        tone: '--fl-spilled',
        kind: 'area',
        time,
        value: all,
        base: used,
        hatch: true
      }
    ],
    start,
    end,
    top,
    limit: now && now.capacity > 0 && now.capacity <= top ? now.capacity : null
  };
}

/**
 * The top of the vertical axis: the peak with some room, so that small stores are not a flat line;
 * the capacity too as soon as the peak comes near it.
 */
export function ceiling(peak: number, capacity: number): number {
  if (capacity > 0 && peak > capacity * 0.6) {
    return Math.max(capacity, peak) * 1.08;
  }
  return Math.max(peak * 1.25, 1e6);
}

/** Bytes a second to disk and back, from what was counted so far. */
export interface Traffic {
  time: readonly number[];
  out: readonly number[];
  back: readonly number[];
}

export interface Counted {
  time: number;
  /** Bytes so far. */
  spill_bytes: number;
  restore_bytes: number;
}

export function traffic(rows: readonly Counted[]): Traffic {
  const rate = (key: 'spill_bytes' | 'restore_bytes') =>
    rows.map((row, i) => {
      const before = rows[Math.max(0, i - 1)];
      const seconds = row.time - before.time;
      return seconds > 0 ? Math.max(0, row[key] - before[key]) / seconds : 0;
    });
  return {
    time: rows.map(row => row.time),
    out: rate('spill_bytes'),
    back: rate('restore_bytes')
  };
}

/** Traffic in the same span as the store's picture; null while there has been none. */
export function trafficPicture(rows: readonly Counted[], span: number): Picture | null {
  const all = rows[rows.length - 1];
  if (!all || all.spill_bytes + all.restore_bytes === 0) {
    return null;
  }
  const { time, out, back } = traffic(within(rows, span));
  const [start, end] = frame(time, all.time, span);
  return {
    series: [
      { id: 'out', tone: '--fl-spilled', kind: 'step', time, value: out },
      { id: 'back', tone: '--fl-done', kind: 'step', time, value: back, dash: [5, 3] }
    ],
    start,
    end,
    top: Math.max(1e5, ...out, ...back) * 1.15,
    limit: null
  };
}

export type GpuMetric = 'utilization' | 'memory' | 'temperature' | 'power';
export const GPU_METRICS: readonly GpuMetric[] = [
  'utilization',
  'memory',
  'temperature',
  'power'
];

const TONES = 8;
const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** The colour and dashes of the line of the nth device. */
export function lineOf(n: number): { tone: string; dash: readonly number[] } {
  return {
    tone: `--fl-line-${n % TONES}`,
    dash: DASHES[Math.floor(n / TONES) % DASHES.length]
  };
}

/** A metric of all devices over time. Memory is a share of each device's own. */
export function gpuPicture(
  gpus: readonly GpuView[],
  histories: GpuHistories,
  metric: GpuMetric,
  span: number
): Picture {
  const own = gpus.map(gpu => histories.get(deviceKey(gpu)));
  const latest = Math.max(0, ...own.map(h => h?.time[h.time.length - 1] ?? 0));
  const starts: number[] = [];
  const series = gpus.flatMap((gpu, n): Series[] => {
    const history = own[n];
    if (!history) {
      return [];
    }
    const rows = history.time.map((time, i) => ({ time, value: history[metric][i] }));
    const scale = metric === 'memory' ? (gpu.memory_total ? 100 / gpu.memory_total : NaN) : 1;
    const shown = rows.filter(row => row.time > latest - span);
    if (shown.length > 0) {
      starts.push(shown[0].time);
    }
    const { time, value } = withGaps(
      shown.map(row => row.time),
      shown.map(row => (row.value === null ? NaN : row.value * scale)),
      latest
    );
    return [{ id: deviceKey(gpu), kind: 'line', ...lineOf(n), time, value }];
  });
  const first = starts.length > 0 ? Math.min(...starts) : latest;
  const [start, end] = frame([first], latest, span);
  const known = series.flatMap(s => s.value.filter(v => !Number.isNaN(v)));
  const limits = gpus.flatMap(gpu => (gpu.power_limit === null ? [] : [gpu.power_limit]));
  const top =
    metric === 'utilization' || metric === 'memory'
      ? 105
      : metric === 'temperature'
        ? Math.max(100, ...known)
        : Math.max(10, ...known, ...limits) * 1.08;
  return { series, start, end, top, limit: null };
}

/** Nothing is drawn across the time in which nobody looked: a NaN stands in each gap. */
function withGaps(
  times: readonly number[],
  values: readonly number[],
  now: number
): { time: number[]; value: number[] } {
  const time: number[] = [];
  const value: number[] = [];
  times.forEach((t, i) => {
    const before = times[i - 1];
    // What is old has few rows, without a gap between them.
    if (i > 0 && t - before > Math.max(GAP, (now - before) / 8)) {
      time.push((before + t) / 2);
      value.push(NaN);
    }
    time.push(t);
    value.push(values[i]);
  });
  return { time, value };
}

/** Whether any device tells this; what none does is not offered. */
export function known(histories: Iterable<GpuHistoryOf>, metric: GpuMetric): boolean {
  for (const history of histories) {
    if (history[metric].some(value => value !== null)) {
      return true;
    }
  }
  return false;
}

type GpuHistoryOf = Pick<
  Parameters<typeof gpuPicture>[1] extends ReadonlyMap<string, infer H> ? H : never,
  GpuMetric
>;

/** The place in ascending `times` that is nearest to `time`; -1 in none. */
export function nearest(times: readonly number[], time: number): number {
  let low = 0;
  let high = times.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (times[middle] <= time) {
      low = middle;
    } else {
      high = middle;
    }
  }
  if (high < 0) {
    return -1;
  }
  return time - times[low] <= times[high] - time ? low : high;
}
