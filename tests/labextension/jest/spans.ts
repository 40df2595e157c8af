/** Spans for tests: packed as the runtime packs them, and fed to the panel's timeline. */
import type { SpansAnswer } from '@fanlight/answers';
import { Feed } from '@fanlight/sections/timeline/feed';
import { unhex } from '@fanlight/model/bytes';

export interface Made {
  start: number;
  took?: number;
  group?: number;
  worker?: number;
  pid?: number;
  attempt?: number;
  flags?: number;
  reading?: number;
  storing?: number;
  waited?: number;
  size?: number;
  /** Its counter; by default the place in the list, from 1 on. */
  number?: number;
  client?: number;
  /** The number of the task whose result came last. */
  gate?: number;
}

export function taskId(number: number, client = 1): string {
  return (
    client.toString(16).padStart(2, '0').repeat(16) + number.toString(16).padStart(16, '0')
  );
}

export function packed(made: readonly Made[], first = 1): Uint8Array {
  const bytes = new Uint8Array(made.length * 80);
  const view = new DataView(bytes.buffer);
  made.forEach((span, n) => {
    const at = n * 80;
    const worker = span.worker ?? 1;
    bytes.set(unhex(taskId(span.number ?? first + n, span.client), 24), at);
    view.setUint32(at + 24, span.group ?? 1, true);
    view.setUint32(at + 28, worker, true);
    view.setUint32(at + 32, span.pid ?? 100 + worker, true);
    view.setUint16(at + 36, span.attempt ?? 0, true);
    view.setUint16(at + 38, span.flags ?? 0, true);
    view.setFloat64(at + 40, span.start, true);
    view.setFloat32(at + 48, span.took ?? 1, true);
    view.setFloat32(at + 52, span.reading ?? 0, true);
    view.setFloat32(at + 56, span.storing ?? 0, true);
    view.setFloat32(at + 60, span.waited ?? 0, true);
    view.setFloat32(at + 64, span.size ?? 0, true);
    if (span.gate !== undefined) {
      bytes.set(unhex(taskId(span.gate, span.client), 24).subarray(12), at + 68);
    }
  });
  return bytes;
}

export function answer(made: readonly Made[], more: Partial<SpansAnswer> = {}): SpansAnswer {
  const bytes = packed(made, (more.next ?? made.length) - made.length + 1);
  return {
    records: base64(bytes),
    record: 80,
    next: made.length,
    reset: false,
    more: false,
    forgotten: 0,
    now: 1000,
    names: { 1: ['f', 'task', 'cell-1'], 2: ['g', 'task', 'cell-2'] },
    running: [],
    lanes: {},
    clients: {},
    ...more
  };
}

export function fed(made: readonly Made[], more: Partial<SpansAnswer> = {}): Feed {
  const feed = new Feed();
  feed.take(answer(made, more));
  return feed;
}

/** The same numbers each time: a small generator, for many spans of all kinds. */
export function many(count: number, workers = 3): Made[] {
  let seed = 7;
  const random = (): number => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed / 2147483648;
  };
  const free = new Array<number>(workers).fill(0);
  return Array.from({ length: count }, (_, n) => {
    const worker = n % workers;
    const start = free[worker] + (random() < 0.3 ? random() * 0.5 : 0);
    const took = random() < 0.05 ? random() * 3 : random() * 0.01;
    free[worker] = start + took;
    return {
      start,
      took,
      worker: worker + 1,
      group: 1 + Math.floor(random() * 3),
      flags: random() < 0.02 ? 1 : 0,
      reading: took * 0.1,
      storing: took * 0.05,
      waited: random()
    };
  });
}

function base64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
}
