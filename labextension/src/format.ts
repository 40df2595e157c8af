/** Numbers as people read them. */

// Made once: making one takes a hundred times as long as using it.
const COUNT = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
const UNITS = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

/** 1500 → "1.5 kB"; three significant digits. */
export function bytes(value: number): string {
  let unit = 0;
  let scaled = Math.abs(value);
  while (scaled >= 999.5 && unit < UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2;
  return `${trim(scaled.toFixed(digits))} ${UNITS[unit]}`;
}

/** Seconds → "12 ms", "3.4 s", "2 min 5 s", "1 h 3 min"; 0 → "0 s". */
export function duration(seconds: number): string {
  if (seconds === 0) {
    return '0 s';
  }
  if (seconds > 0 && seconds < 0.00005) {
    return '<0.1 ms';
  }
  if (seconds < 0.0995) {
    return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  }
  if (seconds < 9.95) {
    return `${seconds.toFixed(1)} s`;
  }
  if (seconds < 59.5) {
    return `${seconds.toFixed(0)} s`;
  }
  const whole = Math.round(seconds);
  if (whole < 3600) {
    return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  }
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** 12345 → "12,345"; fractions of a CPU keep two digits. */
export function count(value: number): string {
  return COUNT.format(value);
}

/** A share of one → "31 %"; what is little is not called nothing. */
export function percent(share: number): string {
  if (share > 0 && share < 0.01) {
    return '<1 %';
  }
  return `${Math.round(share * 100)} %`;
}

/** Tasks per second → "12 /s" or, when slow, "40 /min". */
export function rate(perSecond: number): string {
  if (perSecond >= 9.95) {
    return `${count(Math.round(perSecond))} /s`;
  }
  if (perSecond >= 0.995) {
    return `${trim(perSecond.toFixed(1))} /s`;
  }
  return `${trim((perSecond * 60).toFixed(perSecond < 0.1 ? 1 : 0))} /min`;
}

/** Seconds since the epoch → local "14:03:21". */
export function clock(time: number): string {
  return new Date(time * 1000).toLocaleTimeString('en-GB');
}

export function shortId(id: string): string {
  return id.length > 10 ? `${id.slice(0, 4)}…${id.slice(-4)}` : id;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

function trim(text: string): string {
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}
