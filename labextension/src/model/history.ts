/**
 * Histories that never end and never grow: what is new in full, what is old more coarsely. Goes on
 * with what the node gives, by the same rule (`runtime/fanlight/observe/history.py`). Pure.
 */
import { HISTORY_LIMIT, type GpuHistory, type GpuView, type StoreView } from '../events';

const FINENESS = 128;
/** Devices whose figures are kept; of slices that are made anew again and again, the newest. */
const DEVICES = 64;

/** Where each group of rows that become one begins, so that at most 0.9 `limit` are left. */
export function groups(times: readonly number[], limit: number): number[] {
  const now = times[times.length - 1] ?? 0;
  for (let fineness = FINENESS; ; fineness /= 2) {
    const starts: number[] = [];
    let lastStep = -1;
    let lastPlace = 0;
    times.forEach((time, i) => {
      const age = (now - time) / fineness;
      const step = age > 0 ? 2 ** Math.floor(Math.log2(age)) : 0;
      const place = step > 0 ? Math.floor(time / step) : i;
      if (step !== lastStep || place !== lastPlace) {
        starts.push(i);
      }
      lastStep = step;
      lastPlace = place;
    });
    if (starts.length <= limit * 0.9 || fineness < 1 / 64) {
      return starts;
    }
  }
}

/** A history with one row more; `old` stays as it is. */
export function withRow<T extends { time: number }>(
  old: readonly T[],
  row: T,
  merge: (rows: readonly T[]) => T,
  limit = HISTORY_LIMIT
): readonly T[] {
  const rows = [...old, row];
  if (rows.length <= limit) {
    return rows;
  }
  const starts = groups(
    rows.map(r => r.time),
    limit
  );
  return starts.map((first, i) => {
    const end = starts[i + 1] ?? rows.length;
    return end - first === 1 ? rows[first] : merge(rows.slice(first, end));
  });
}

/** Several neighbours as one: the peaks, and the last of what is counted. */
export function oneStoreRow(rows: readonly StoreView[]): StoreView {
  const { time, capacity } = rows[rows.length - 1];
  const row: StoreView = { ...rows[0] };
  for (const key of Object.keys(row) as (keyof StoreView)[]) {
    row[key] = rows.reduce((most, r) => Math.max(most, r[key]), rows[0][key]);
  }
  return { ...row, time, capacity };
}

export type GpuHistories = ReadonlyMap<string, GpuHistory>;

/** What a device is known by as long as the runtime lives. */
export function deviceKey(gpu: Pick<GpuView, 'uuid' | 'node' | 'index'>): string {
  return gpu.uuid || `${gpu.node}#${gpu.index}`;
}

/** `rows` is not there in recordings of older versions. */
export function gpuHistories(rows: readonly GpuHistory[] | undefined): GpuHistories {
  return new Map((rows ?? []).map(row => [row.device, row]));
}

/** The histories with a sample more, that was taken at `time`. */
export function withSample(
  old: GpuHistories,
  time: number,
  gpus: readonly GpuView[]
): GpuHistories {
  if (gpus.length === 0) {
    return old;
  }
  const next = new Map(old);
  for (const gpu of gpus) {
    const key = deviceKey(gpu);
    const known = next.get(key) ?? EMPTY;
    next.delete(key); // the last is the one that was seen last
    next.set(key, {
      device: key,
      time: [...known.time, time],
      utilization: [...known.utilization, gpu.utilization_percent],
      memory: [...known.memory, gpu.memory_used],
      temperature: [...known.temperature, gpu.temperature],
      power: [...known.power, gpu.power]
    });
  }
  // All of them together may have as many rows as eight devices.
  const share = Math.floor((8 * HISTORY_LIMIT) / next.size);
  const limit = Math.max(60, Math.min(HISTORY_LIMIT, share));
  for (const [key, history] of next) {
    if (next.size > Math.max(DEVICES, gpus.length)) {
      next.delete(key);
    } else if (history.time.length > limit) {
      next.set(key, thinnedGpu(history, limit));
    }
  }
  return next;
}

const EMPTY: GpuHistory = {
  device: '',
  time: [],
  utilization: [],
  memory: [],
  temperature: [],
  power: []
};

type Column = readonly (number | null)[];

function thinnedGpu(history: GpuHistory, limit: number): GpuHistory {
  const { time } = history;
  const starts = groups(time, limit);
  const each = <T>(make: (first: number, end: number) => T): T[] =>
    starts.map((first, i) => make(first, starts[i + 1] ?? time.length));
  const mean = (column: Column) => each((a, b) => meanOf(column, time, a, b));
  return {
    device: history.device,
    time: each((_, end) => time[end - 1]),
    utilization: mean(history.utilization),
    memory: each((first, end) =>
      history.memory
        .slice(first, end)
        .reduce((most, v) => (v === null || (most !== null && most > v) ? most : v), null)
    ),
    temperature: mean(history.temperature),
    power: mean(history.power)
  };
}

/** Each row counts for the time since the one before it, so that merged rows weigh more. */
function meanOf(
  column: Column,
  times: readonly number[],
  first: number,
  end: number
): number | null {
  if (end - first === 1) {
    return column[first];
  }
  let sum = 0;
  let weights = 0;
  for (let i = first; i < end; i += 1) {
    const value = column[i];
    if (value !== null) {
      const before = i > 0 ? times[i - 1] : times[0] - (times[1] - times[0]);
      const span = times[end - 1] - times[first] + 1;
      const weight = Math.max(1e-3, Math.min(times[i] - before, span));
      sum += value * weight;
      weights += weight;
    }
  }
  return weights > 0 ? Math.round((sum / weights) * 100) / 100 : null;
}
