/** What happened when, for the track of the player: tasks that ran, and failures. Pure. */
import type { Part } from './file';
import type { Spans } from './spans';

export interface Activity {
  /** The most tasks that ran at once, in each of equal stretches of time. */
  readonly busy: Float64Array;
  /** The largest of them. */
  readonly peak: number;
  /** When tasks failed, in order. */
  readonly failures: readonly number[];
}

const FAILURES = 500;

/** From the timeline; from the counts of the parts where the recording has none. */
export function activity(
  spans: Spans,
  parts: readonly Part[],
  start: number,
  end: number,
  bins: number
): Activity {
  const busy = new Float64Array(bins);
  const width = Math.max(end - start, 1e-9) / bins;
  const bin = (time: number): number =>
    Math.min(bins - 1, Math.max(0, Math.floor((time - start) / width)));
  const failures: number[] = [];
  if (spans.count === 0) {
    for (const part of parts) {
      if (part.kind === 'delta' && part.counts) {
        const running = Number(part.counts.RUNNING ?? 0);
        for (let n = bin(part.t0); n <= bin(part.t1); n++) {
          busy[n] = Math.max(busy[n], running);
        }
      }
    }
    return { busy, peak: busy.reduce((a, b) => Math.max(a, b), 0), failures };
  }
  // Seconds of work in each stretch: a mean, which many short tasks do not turn into a comb.
  for (let i = 0; i < spans.count; i++) {
    const from = Math.max(spans.start[i], start);
    const to = Math.min(spans.end[i], end);
    if (spans.failed[i] && spans.end[i] >= start && spans.end[i] <= end) {
      failures.push(spans.end[i]);
    }
    if (to < from) {
      continue;
    }
    const last = bin(to);
    for (let n = bin(from); n <= last; n++) {
      const low = Math.max(from, start + n * width);
      const high = Math.min(to, start + (n + 1) * width);
      busy[n] += Math.max(0, high - low) / width;
    }
  }
  const peak = busy.reduce((a, b) => Math.max(a, b), 0);
  return { busy, peak, failures: failures.slice(0, FAILURES) };
}

/** The activity as an SVG path in a box of `bins` by 1, closed along its bottom. */
export function area({ busy, peak }: Activity): string {
  const points = [...busy].map((value, n) => {
    const y = (1 - (peak ? value / peak : 0)).toFixed(3);
    return `L${n} ${y}L${n + 1} ${y}`;
  });
  return `M0 1${points.join('')}L${busy.length} 1Z`;
}

/** "0:07.3", "12:05", "3:04:05": tenths of a second only where the whole is short. */
export function clock(seconds: number, whole: number): string {
  const tenths = whole < 600;
  const all = tenths ? Math.floor(seconds * 10 + 1e-6) / 10 : Math.floor(seconds + 1e-6);
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor(all / 60) % 60;
  const rest = (all % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, '0');
  return hours ? `${hours}:${String(minutes).padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}
