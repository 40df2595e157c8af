/** Which part of the time is on view, and the marks of its axis. Pure. */

export interface View {
  begin: number;
  end: number;
  /** Moves on with the newest; `whole` also keeps the beginning. */
  follow: 'whole' | 'newest' | null;
}

export interface Extent {
  begin: number;
  end: number;
}

const SHORTEST = 2e-5; // seconds on view
const MARGIN = 0.01; // of the extent, beyond its ends

export function whole(extent: Extent): View {
  const room = Math.max((extent.end - extent.begin) * MARGIN, SHORTEST);
  return { begin: extent.begin - room, end: extent.end + room, follow: 'whole' };
}

/** The view after the extent has changed. */
export function followed(view: View | null, extent: Extent): View {
  if (view === null || view.follow === 'whole') {
    return whole(extent);
  }
  if (view.follow === 'newest') {
    const span = view.end - view.begin;
    const end = extent.end + span * 0.03;
    return { ...view, begin: end - span, end };
  }
  return view;
}

/** Twice as much with factor 2, around the moment `at`. */
export function zoomed(view: View, extent: Extent, factor: number, at: number): View {
  const span = (view.end - view.begin) * factor;
  if (span >= (extent.end - extent.begin) * (1 + 2 * MARGIN)) {
    return whole(extent);
  }
  const length = Math.max(span, SHORTEST);
  const share = (at - view.begin) / (view.end - view.begin);
  const begin = at - share * length;
  const follow = view.follow === null || begin + length < extent.end ? null : 'newest';
  return clamped({ begin, end: begin + length, follow }, extent);
}

export function panned(view: View, extent: Extent, seconds: number): View {
  return clamped(
    { begin: view.begin + seconds, end: view.end + seconds, follow: null },
    extent
  );
}

export function between(a: number, b: number, extent: Extent): View {
  const middle = (a + b) / 2;
  const half = Math.max(Math.abs(b - a), SHORTEST) / 2;
  return clamped({ begin: middle - half, end: middle + half, follow: null }, extent);
}

/** So that a moment is on view, moved no more than needed. */
export function showing(view: View, extent: Extent, from: number, to: number): View {
  const span = view.end - view.begin;
  if (from >= view.begin && to <= view.end) {
    return view;
  }
  if (to - from > span * 0.8) {
    const room = (to - from) * 0.15;
    return between(from - room, to + room, extent);
  }
  const middle = (from + to) / 2;
  return panned(view, extent, middle - (view.begin + view.end) / 2);
}

/** At least a tenth of what is on view stays filled. */
function clamped(view: View, extent: Extent): View {
  const span = view.end - view.begin;
  const keep = span * 0.1;
  const shift =
    view.end < extent.begin + keep
      ? extent.begin + keep - view.end
      : view.begin > extent.end - keep
        ? extent.end - keep - view.begin
        : 0;
  return shift ? { ...view, begin: view.begin + shift, end: view.end + shift } : view;
}

const STEPS = [1, 2, 5];
const LONG = [
  ...[1, 2, 5, 10, 15, 30],
  ...[60, 120, 300, 600, 900, 1800],
  ...[3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800]
];

/** Seconds between two marks, so that there are at most `most` in so many seconds. */
export function tickStep(seconds: number, most: number): number {
  const least = seconds / Math.max(1, most);
  if (least > 1) {
    return LONG.find(step => step >= least) ?? Math.ceil(least / 604800) * 604800;
  }
  let power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
  for (;;) {
    for (const step of STEPS) {
      if (step * power >= least * 0.9999) {
        return step * power;
      }
    }
    power *= 10;
  }
}

export interface Tick {
  time: number;
  text: string;
}

/** Marks at round times since `origin`. */
export function ticks(view: Extent, origin: number, most: number): Tick[] {
  const step = tickStep(view.end - view.begin, most);
  const found: Tick[] = [];
  const first = Math.ceil((view.begin - origin) / step - 1e-6);
  for (let n = first; origin + n * step <= view.end && found.length < 100; n += 1) {
    found.push({ time: origin + n * step, text: since(n * step, step) });
  }
  return found;
}

/** Time since the beginning as the axis writes it: "250 ms", "1.5 s", "2:05", "1:02:05". */
export function since(seconds: number, step: number): string {
  const sign = seconds < -step / 2 ? '−' : '';
  const value = Math.abs(seconds);
  if (value < step / 2) {
    return '0';
  }
  if (value < 0.9995 && step < 1) {
    return `${sign}${decimals(value * 1000, step * 1000)} ms`;
  }
  if (value < 60) {
    return `${sign}${decimals(value, step)} s`;
  }
  const left = value % 60;
  const digits = step < 1 ? Math.ceil(-Math.log10(step) - 1e-9) : 0;
  // Rounding must not say "1:60".
  const carried = Number(left.toFixed(digits)) >= 60 ? 1 : 0;
  const minutes = Math.floor(value / 60) + carried;
  const rest = carried ? 0 : left;
  const tail = rest.toFixed(digits).padStart(digits ? digits + 3 : 2, '0');
  if (minutes < 60) {
    return `${sign}${minutes}:${tail}`;
  }
  const hours = Math.floor(minutes / 60);
  return `${sign}${hours}:${String(minutes % 60).padStart(2, '0')}:${tail}`;
}

function decimals(value: number, step: number): string {
  return value.toFixed(Math.max(0, Math.min(6, Math.ceil(-Math.log10(step) - 1e-9))));
}
