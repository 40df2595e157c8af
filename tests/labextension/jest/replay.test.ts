import { activity, area, clock } from '@fanlight/replay/activity';
import { crc32, RecordingFile } from '@fanlight/replay/file';
import { Player } from '@fanlight/replay/player';
import { hex } from '@fanlight/model/bytes';
import { ReplaySource } from '@fanlight/replay/source';
import type {
  LogLine,
  ObjectRow,
  Query,
  SpansAnswer,
  TaskColumns
} from '@fanlight/model/queries';
import type { Snapshot } from '@fanlight/events';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL, type Data, type State } from '@fanlight/model/state';

declare const require: (name: 'fs') => { readFileSync(path: string): Uint8Array };
declare const __dirname: string;
declare const setImmediate: (run: () => void) => void;

const START = 1_800_000_000;
/** Made by `python -m tests.observe.scripted`. */
const BYTES = new Uint8Array(
  require('fs').readFileSync(`${__dirname}/recorded/simulated.fanlight`)
);

/** Frames that a test lets pass. */
class Frames {
  private next: ((milliseconds: number) => void) | null = null;
  asked = 0;

  request = (run: (milliseconds: number) => void): number => {
    this.next = run;
    this.asked += 1;
    return this.asked;
  };

  cancel = (): void => {
    this.next = null;
  };

  get waiting(): boolean {
    return this.next !== null;
  }

  async pass(milliseconds: number): Promise<void> {
    const run = this.next;
    this.next = null;
    run?.(milliseconds);
    await settled();
  }
}

/** Everything that was begun has been done: unpacking takes turns of the event loop. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) {
    await new Promise<void>(resolve => setImmediate(resolve));
  }
}

async function open(
  bytes: Uint8Array = BYTES
): Promise<{ source: ReplaySource; frames: Frames }> {
  const frames = new Frames();
  const file = new RecordingFile(bytes, 'a.fanlight');
  const source = new ReplaySource(file, { schedule: run => run(), frames });
  await source.open();
  return { source, frames };
}

async function show(source: ReplaySource, at: number): Promise<Data> {
  source.player.seek(START + at);
  const deadline = Date.now() + 20_000;
  // The moment is on view when no event before it is missing.
  while (Date.now() < deadline) {
    await settled();
    const data = source.store.get().data;
    if (data && Math.abs(data.time - START - at) <= 0.11) {
      return data;
    }
  }
  throw new Error(`never came to ${at}: ${source.store.get().data?.time}`);
}

/** The state at a moment, folded from the beginning: what seeking must come to. */
async function folded(at: number): Promise<State> {
  const file = new RecordingFile(BYTES, 'a');
  let state: State = INITIAL;
  let first = true;
  for (const part of file.parts) {
    if (part.kind === 'key' && first) {
      first = false;
      const [snapshot] = await file.lines<Snapshot>(part);
      state = reduce(state, snapshot);
    } else if (part.kind === 'delta') {
      for (const delta of await file.lines<{ time: number }>(part)) {
        if (delta.time <= START + at) {
          state = reduce(state, delta as never);
        }
      }
    }
  }
  return state;
}

/** A group's tasks as a section keeps them: answers are changes of slots. */
class Columns {
  cursor = 0;
  count = 0;
  readonly ids: string[] = [];
  readonly state: number[] = [];
  readonly depth: number[] = [];
  told = 0;

  take(answer: TaskColumns): void {
    const bytes = (text: string): Uint8Array =>
      Uint8Array.from(atob(text), character => character.charCodeAt(0));
    const slot = new Uint32Array(bytes(answer.slot).buffer);
    const depth = new Uint16Array(bytes(answer.depth).buffer);
    const started = new Float64Array(bytes(answer.started).buffer);
    expect(started).toHaveLength(slot.length);
    slot.forEach((at, k) => {
      this.ids[at] = hex(bytes(answer.ids).subarray(k * 24, k * 24 + 24));
      this.state[at] = bytes(answer.state)[k];
      this.depth[at] = depth[k];
    });
    this.told = slot.length;
    this.count = answer.slots;
    this.cursor = answer.cursor;
  }

  /** How many are in the state with this number. */
  of(state: number): number {
    return this.state.slice(0, this.count).filter(s => s === state).length;
  }
}

const RUNNING = 3;
const FINISHED = 4;

describe('a recording', () => {
  test('opens at its end, with everything in it', async () => {
    const { source } = await open();
    const data = source.store.get().data;
    expect(data?.errors).toHaveLength(2);
    expect(source.player.end - source.player.start).toBeCloseTo(25.7, 1);
    expect(await source.title()).toBe('A simulated run');
    expect(source.file.whole).toBe(true);
    expect(source.store.get().phase).toBe('live');
  });

  test('shows the same moment however one comes to it', async () => {
    const { source } = await open();
    for (const at of [3, 7.5, 20, 14, 6, 0.4, 25]) {
      const data = await show(source, at);
      const wanted = (await folded(at)).data;
      expect([...data.tasks.values()].sort(byId)).toEqual(
        [...(wanted?.tasks.values() ?? [])].sort(byId)
      );
      expect([...data.groups.values()]).toEqual([...(wanted?.groups.values() ?? [])]);
      expect(data.errors).toEqual(wanted?.errors);
      expect(data.time).toBeCloseTo(wanted?.time ?? 0, 6);
    }
  });

  test('forgets the future on the way back', async () => {
    const { source } = await open();
    await show(source, 25);
    const data = await show(source, 2);
    expect(data.errors).toEqual([]);
    for (const samples of data.samples.values()) {
      expect(samples.every(sample => sample.time <= data.time)).toBe(true);
    }
    expect(data.store.every(row => row.time <= data.time)).toBe(true);
  });

  test('is good up to its last whole part wherever it is cut', async () => {
    for (const share of [0.25, 0.5, 0.75, 0.999]) {
      const cut = BYTES.slice(0, Math.floor(BYTES.length * share));
      const { source } = await open(cut);
      expect(source.file.whole).toBe(false);
      expect(source.player.end).toBeLessThanOrEqual(START + 26);
      expect(source.store.get().data).not.toBeNull();
    }
  });

  test.each([
    [new Uint8Array(0), 'a is empty.'],
    [new TextEncoder().encode('{"cells": []}'), 'a is not a recording of Fanlight.'],
    [BYTES.slice(0, 9), 'a was cut short: there is nothing in it.'],
    [BYTES.slice(0, 200), 'a holds nothing to show: it ends before the first event, or'],
    [Uint8Array.from([...BYTES.slice(0, 13), 9, 0, 0]), 'made by a newer Fanlight (format 9;'],
    [
      new TextEncoder().encode(String.fromCharCode(...BYTES.slice(0, 99))),
      'a was changed on its way, as a text file is'
    ]
  ])('says what a file is that cannot be played', (bytes, text) => {
    expect(() => new RecordingFile(bytes, 'a')).toThrow(text);
  });

  test('one wrong byte ends it there, and a wrong size of a body is damage', async () => {
    const changed = BYTES.slice();
    changed[20_000] ^= 4;
    const file = new RecordingFile(changed, 'a');
    const whole = new RecordingFile(BYTES, 'a');
    const good = whole.parts.filter(part => part.offset + part.packed <= 20_000).length;
    expect(file.parts).toHaveLength(good);
    expect(file.lost).toBeGreaterThan(0);
    const [key] = whole.of('key');
    await expect(whole.body({ ...key, size: key.size - 1 })).rejects.toThrow('a is damaged.');
    await expect(whole.body({ ...key, size: key.size + 1 })).rejects.toThrow('a is damaged.');
    await expect(whole.body({ ...key, offset: key.offset + 3 })).rejects.toThrow('damaged');
  });
});

describe('answers as of the moment', () => {
  test('the timeline grows, and begins anew on the way back', async () => {
    const { source } = await open();
    await show(source, 10);
    const ask = (after: number): Promise<SpansAnswer> =>
      source.ask<SpansAnswer>({ what: 'spans', after } as Query);
    const first = await ask(0);
    expect(first.reset).toBe(false);
    expect(first.running.length).toBeGreaterThan(0);
    await show(source, 20);
    const more = await ask(first.next);
    expect(more.reset).toBe(false);
    expect(more.next).toBeGreaterThan(first.next);
    await show(source, 3);
    const back = await ask(more.next);
    expect(back.reset).toBe(true);
    expect(back.next).toBeLessThan(first.next);
    expect(atob(back.records).length).toBe(back.next * back.record);
    await show(source, 25.7);
    expect((await ask(0)).next).toBe(142);
  });

  test('the tasks of a group keep their slots, and only what changed is told', async () => {
    const { source } = await open();
    const columns = new Columns();
    const ids = new Map<number, string>();
    let fewest = 64;
    for (const at of [19, 21, 21.3, 23, 20, 25.7, 18]) {
      const data = await show(source, at);
      const group = [...data.groups.values()].find(g => g.name === 'sample_pi')!;
      columns.take(
        await source.ask<TaskColumns>({
          what: 'group_tasks',
          group: group.id,
          after: columns.cursor
        })
      );
      expect(columns.count).toBe(64);
      expect(columns.of(FINISHED)).toBe(group.counts.FINISHED ?? 0);
      expect(columns.of(RUNNING)).toBe(group.counts.RUNNING ?? 0);
      fewest = Math.min(fewest, columns.told);
      columns.ids.forEach((id, slot) => {
        expect(ids.get(slot) ?? id).toBe(id);
        ids.set(slot, id);
      });
    }
    expect(fewest).toBeLessThan(20);
  });

  test('depths follow the arguments', async () => {
    const { source } = await open();
    const data = source.store.get().data!;
    const group = [...data.groups.values()].find(g => g.name === 'add')!;
    const columns = new Columns();
    columns.take(await source.ask({ what: 'group_tasks', group: group.id, after: 0 }));
    expect(Math.max(...columns.depth)).toBe(4);
  });

  test('a task, what it waits for, what stands around it', async () => {
    const { source } = await open();
    const data = await show(source, 6.5);
    const waiting = [...data.tasks.values()].find(t => t.name === 'add')!;
    const told = await source.ask<{ why: string; lines: unknown[]; attempts: unknown[] }>({
      what: 'task',
      id: waiting.id
    });
    expect(told.why).toMatch(/^Waits for/);
    expect(told.attempts).toEqual([]);
    const near = await source.ask<{ tasks: unknown[]; links: unknown[]; whole: boolean }>({
      what: 'neighbours',
      id: waiting.id,
      radius: 1
    } as Query);
    expect(near.tasks.length).toBe(4); // its two arguments, and the next level
    expect(near.links.length).toBe(3);
    await show(source, 25.7);
    const failed = source.store.get().data!.errors[0];
    const after = await source.ask<{ traceback: string; times: unknown }>({
      what: 'task',
      id: failed.task_id
    });
    expect(after.traceback).toContain('not bold');
    expect(after.times).not.toBeNull();
    const causes = await source.ask<{ causes: Array<{ count: number; kind: string }> }>({
      what: 'errors'
    } as Query);
    expect(causes.causes.map(c => [c.kind, c.count])).toEqual([['ValueError', 2]]);
  });

  test('what is not in it is said, and nothing can be ordered', async () => {
    const { source } = await open();
    await expect(source.ask({ what: 'task', id: 'f'.repeat(48) })).rejects.toThrow(
      'does not know this task'
    );
    await expect(source.ask({ what: 'objects' } as Query)).rejects.toThrow('no details');
    await expect(source.ask({ what: 'weather' } as never)).rejects.toThrow('does not hold');
    await expect(source.command()).rejects.toThrow('cannot be changed');
    expect(source.controls).toBe(false);
  });
});

describe('what the recorder asked', () => {
  const line = (time: number, task: string, text: string): object => ({
    time,
    worker: 'w1',
    task,
    origin: 'cell-1',
    text
  });
  const rows = [
    { time: START + 5, query: { what: 'logs' }, data: { lines: [line(4, 'a', 'one')] } },
    { time: START + 5, query: { what: 'objects' }, data: { rows: [{ id: 'x', size: 1 }] } },
    {
      time: START + 10,
      query: { what: 'logs' },
      data: { lines: [line(9, 'b', 'two'), line(9, 'b', 'Three')] }
    },
    {
      time: START + 10,
      query: { what: 'objects' },
      data: { rows: [2, 9, 5].map(size => ({ id: `o${size}`, size })), count: 3 }
    }
  ];

  test('is answered as of the moment, in the order and with the search of now', async () => {
    const body = rows.map(row => JSON.stringify(row)).join('\n');
    const { source } = await open(await appended(BYTES, 'answers', body));
    const logs = (
      more: object
    ): Promise<{ lines: LogLine[]; cursor: number; reset: boolean }> =>
      source.ask({ what: 'logs', ...more } as Query);
    const objects = (more: object): Promise<{ rows: ObjectRow[] }> =>
      source.ask({ what: 'objects', ...more } as Query);
    await show(source, 3);
    expect((await logs({})).lines).toEqual([]);
    await expect(objects({})).rejects.toThrow('no details');
    await show(source, 7);
    const first = await logs({});
    expect(first.lines.map(l => l.text)).toEqual(['one']);
    expect((await objects({})).rows.map(r => r.id)).toEqual(['x']);
    await show(source, 12);
    const next = await logs({ after: first.cursor });
    expect(next.reset).toBe(false);
    expect(next.lines.map(l => l.text)).toEqual(['two', 'Three']);
    expect((await logs({ search: 'thr' })).lines.map(l => l.text)).toEqual(['Three']);
    expect((await logs({ task: 'a' })).lines.map(l => l.text)).toEqual(['one']);
    expect((await objects({ limit: 2 })).rows.map(r => r.size)).toEqual([9, 5]);
    await show(source, 7);
    const back = await logs({ after: next.cursor });
    expect(back.reset).toBe(true);
    expect(back.lines.map(l => l.text)).toEqual(['one']);
  });
});

/** The file with one more part at its end, as the recorder writes it. */
async function appended(file: Uint8Array, kind: string, body: string): Promise<Uint8Array> {
  const stream = new Blob([body]).stream().pipeThrough(new CompressionStream('deflate'));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  const meta = new TextEncoder().encode(JSON.stringify({ kind, t0: START, t1: START }));
  const sizes = new Uint8Array(16);
  const view = new DataView(sizes.buffer);
  sizes.set(new TextEncoder().encode('PART'));
  view.setUint32(4, meta.length, true);
  view.setUint32(8, packed.length, true);
  view.setUint32(12, new TextEncoder().encode(body).length, true);
  const check = new Uint8Array(4);
  const crc = [sizes, meta, packed].reduce((before, bytes) => crc32(bytes, before), 0);
  new DataView(check.buffer).setUint32(0, crc, true);
  return new Uint8Array([...file, ...sizes, ...check, ...meta, ...packed]);
}

describe('the player', () => {
  test('plays at its speed, to the end, and from the start again', async () => {
    const { source, frames } = await open();
    const { player } = source;
    player.setSpeed(10);
    player.play(); // it stood at the end
    expect(player.get().at).toBe(START);
    await frames.pass(1000);
    await frames.pass(1200);
    expect(player.get().at).toBeCloseTo(START + 2, 6);
    const deadline = Date.now() + 20_000; // unpacking may take longer than a few turns
    while (source.store.get().data!.time > START + 2 && Date.now() < deadline) {
      await settled();
    }
    expect(source.store.get().data?.time).toBeLessThanOrEqual(START + 2);
    await frames.pass(60_000); // the page was in the background: no leap
    expect(player.get().at).toBeCloseTo(START + 4.5, 6);
    player.setSpeed(100);
    for (let n = 1; n < 5; n++) {
      await frames.pass(60_000 + n * 240);
    }
    expect(player.get()).toMatchObject({ at: player.end, playing: false });
    expect(frames.waiting).toBe(false);
    expect((await show(source, 25.7)).errors).toHaveLength(2);
  });

  test('asks for no frames while it stands or nobody looks', async () => {
    const { source, frames } = await open();
    expect(frames.asked).toBe(0);
    source.player.seek(START + 1);
    await settled();
    expect(frames.asked).toBe(0);
    source.player.play();
    source.watch('panel', true);
    expect(frames.waiting).toBe(true);
    source.watch('panel', false);
    expect(frames.waiting).toBe(false);
    source.watch('panel', true);
    expect(frames.waiting).toBe(true);
    source.dispose();
    expect(frames.waiting).toBe(false);
  });

  test('steps from event to event, over keyframes, both ways', async () => {
    const { source } = await open();
    const { player } = source;
    player.seek(player.start);
    await settled();
    const seen: number[] = [];
    for (let n = 0; n < 90; n++) {
      await player.step(true);
      seen.push(player.get().at);
    }
    expect(new Set(seen).size).toBe(90);
    expect(seen.at(-1)).toBeCloseTo(START + 9, 3);
    for (let n = 0; n < 89; n++) {
      await player.step(false);
      expect(player.get().at).toBe(seen[88 - n]);
    }
    await player.step(false);
    await player.step(false);
    expect(player.get().at).toBe(player.start);
  });

  test('the last of many seeks wins, and damage stops it with a sentence', async () => {
    const film = {
      start: 0,
      end: 10,
      shown: [] as number[],
      show: (time: number): Promise<boolean> => {
        film.shown.push(time);
        return time === 9 ? Promise.reject(new Error('a is damaged.')) : Promise.resolve(true);
      }
    };
    const player = new Player(film as never, new Frames());
    for (const time of [1, 2, 3, 4]) {
      player.seek(time);
    }
    await settled();
    expect(film.shown).toEqual([1, 4]);
    player.seek(99);
    expect(player.get().at).toBe(10);
    await settled();
    player.seek(9);
    await settled();
    expect(player.get()).toMatchObject({ playing: false, problem: 'a is damaged.' });
    player.seek(2);
    await settled();
    expect(player.get().problem).toBe('');
    expect(film.shown.at(-1)).toBe(2);
  });
});

describe('the track', () => {
  test('shows how much ran, and the failures', async () => {
    const { source } = await open();
    const spans = await source.answers.spans();
    const { start, end } = source.player;
    const shown = activity(spans, source.file.parts, start, end, 50);
    expect(shown.peak).toBeCloseTo(3, 2); // two workers and an actor
    expect(shown.failures).toHaveLength(2);
    expect(area(shown).startsWith('M0 1L0 ')).toBe(true);
    const counted = activity({ count: 0 } as never, source.file.parts, start, end, 50);
    expect(counted.peak).toBeGreaterThan(0);
  });

  test('clocks', () => {
    expect(clock(7.34, 60)).toBe('0:07.3');
    expect(clock(59.99, 60)).toBe('0:59.9');
    expect(clock(725, 3000)).toBe('12:05');
    expect(clock(11_045, 20_000)).toBe('3:04:05');
  });
});

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}
