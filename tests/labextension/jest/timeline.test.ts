/** The timeline without its picture: records, lanes, levels of detail, figures, axis, keys. */
import { NO_FILTER } from '@fanlight/views/model';
import { eachBlock, spanAt } from '@fanlight/sections/timeline/blocks';
import { Feed } from '@fanlight/sections/timeline/feed';
import { busyBins, figures, ofLane, waitingBins } from '@fanlight/sections/timeline/figures';
import { HIDDEN, ROWS, laneName } from '@fanlight/sections/timeline/lanes';
import { layoutOf, placedAt } from '@fanlight/sections/timeline/layout';
import { matcher } from '@fanlight/sections/timeline/match';
import { unbase64 } from '@fanlight/model/bytes';
import { Spans } from '@fanlight/sections/timeline/spans';
import { neighbour } from '@fanlight/sections/timeline/steps';
import { SharedFeed } from '@fanlight/sections/timeline/useFeed';
import {
  between,
  followed,
  panned,
  showing,
  since,
  tickStep,
  ticks,
  whole,
  zoomed
} from '@fanlight/sections/timeline/view';
import { figuresText, parts, spoken } from '@fanlight/sections/timeline/words';
import { answer, fed, many, packed, taskId, type Made } from './spans';

const PYTHON =
  'AAECAwQFBgcICQoLDA0ODxAREhMUFRYXBwAAAAMAAACSEAAAAgADAAAAEIB00tpBAADAPwAAgD4AAAA+AABAPwAAgEVkZWZnaGlqa2xtbm8=';

test('a record as the runtime packs it (tests/core/test_state.py has the same one)', () => {
  const spans = new Spans();
  expect(spans.append(unbase64(PYTHON), 80)).toBe(1);
  expect(spans.id(0)).toBe('000102030405060708090a0b0c0d0e0f1011121314151617');
  expect([spans.group[0], spans.worker[0], spans.pid[0], spans.attempt[0]]).toEqual([
    7, 3, 4242, 2
  ]);
  expect(spans.flags[0]).toBe(3);
  expect([spans.start[0], spans.end[0]]).toEqual([1_800_000_000.25, 1_800_000_001.75]);
  expect([spans.reading[0], spans.storing[0], spans.waited[0], spans.size[0]]).toEqual([
    0.25, 0.125, 0.75, 4096
  ]);
  expect([...spans.gates.subarray(0, 12)]).toEqual([...Array(12).keys()].map(k => k + 100));
});

test('longer records of a newer runtime, and records that are none', () => {
  const spans = new Spans();
  const longer = new Uint8Array(2 * 96);
  const two = packed([{ start: 5 }, { start: 6 }]);
  longer.set(two.subarray(0, 80), 0);
  longer.set(two.subarray(80), 96);
  expect(spans.append(longer, 96)).toBe(2);
  expect([spans.start[0], spans.start[1]]).toEqual([5, 6]);
  expect(spans.append(new Uint8Array(79), 80)).toBe(0);
  expect(spans.append(new Uint8Array(80), 0)).toBe(0);
});

test('pages follow each other, and what ran is replaced', () => {
  const feed = fed([{ start: 0 }], {
    running: [[taskId(2), 1, 1, 101, 0, 1, 0.5, '']],
    now: 3
  });
  expect([feed.spans.count, feed.running]).toEqual([2, 1]);
  expect(feed.lanes.all[0].running).toEqual([1]);
  feed.tick(4);
  expect(feed.extent(4)).toEqual({ begin: 0, end: 4 });
  feed.take(answer([{ start: 1, took: 3 }], { next: 2 }));
  expect([feed.spans.count, feed.running]).toEqual([2, 0]);
  expect(feed.lanes.all).toHaveLength(1);
  expect(feed.lanes.all[0].rows[0].count).toBe(2);
  expect(feed.extent(9)).toEqual({ begin: 0, end: 4 });
});

test('an answer that begins anew, as a replay gives that goes back', () => {
  const feed = fed(many(50));
  feed.take(answer([{ start: 7 }], { reset: true, next: 1 }));
  expect([feed.spans.count, feed.lanes.begin, feed.lanes.end]).toEqual([1, 7, 8]);
  feed.take(answer([], { next: 0 })); // a runtime with the same id that knows less
  expect(feed.spans.count).toBe(0);
  expect(feed.extent(5)).toBeNull();
});

test('asks page by page, one question at a time, and says what is wrong', async () => {
  const feed = new Feed();
  const asked: number[] = [];
  const first = feed.pull(async after => {
    asked.push(after);
    return after === 0
      ? answer([{ start: 0 }], { more: true })
      : answer([{ start: 2 }], { next: 2 });
  });
  expect(await feed.pull(() => Promise.reject(new Error('never asked')))).toBe(false);
  await first;
  expect(asked).toEqual([0, 1]);
  expect([feed.spans.count, feed.problem, feed.loaded]).toEqual([2, '', true]);
  await feed.pull(() => Promise.reject(new Error('The engine has no timeline.')));
  expect([feed.spans.count, feed.problem]).toEqual([2, 'The engine has no timeline.']);
});

test('the oldest are dropped when there are many more than the limit', () => {
  const spans = new Spans(100);
  for (let page = 0; page < 30; page += 1) {
    const made = Array.from({ length: 10 }, (_, n) => ({ start: page * 10 + n, took: 1 }));
    spans.append(packed(made, page * 10 + 1), 80);
    spans.trim();
    expect(spans.count).toBeLessThanOrEqual(120);
    expect(spans.start[spans.count - 1]).toBe(page * 10 + 9);
  }
  expect(spans.dropped + spans.count).toBe(300);
  expect(spans.start.length).toBeLessThan(2000);
  expect(spans.find(taskId(300))).toBe(spans.count - 1);
  expect(spans.find(taskId(1))).toBe(-1);
});

const ACTOR = {
  3: ['Counter', 'actor', ''],
  4: ['Counter.add', 'method', ''],
  5: ['Counter.read', 'method', '']
} as Record<number, [string, string, string]>;

test('a lane for each worker, and for each method of an actor', () => {
  const feed = fed(
    [
      { start: 0, worker: 2, group: 3 },
      { start: 1, worker: 2, group: 4 },
      { start: 3, worker: 2, group: 5 },
      { start: 0, worker: 9 },
      { start: 0, worker: 10 },
      { start: 2, worker: 9, pid: 7 }
    ],
    {
      names: { ...ACTOR, 1: ['f', 'task', ''] },
      lanes: { 2: ['Counter', 'c', [], 102, '', ''] }
    }
  );
  const names = feed.lanes.sorted().map(lane => laneName(lane, feed.names, feed.living));
  expect(names).toEqual([
    'worker 9',
    'worker 9',
    'worker 10',
    'c: Counter.add',
    'c: Counter.read'
  ]);
  expect(feed.lanes.sorted()[3].rows[0].count).toBe(2); // the constructor is among them
});

test('calls beside each other have rows, up to a limit', () => {
  const calls = Array.from({ length: ROWS + 3 }, (_, n) => ({
    start: n * 0.1,
    took: 10,
    worker: 2,
    group: 4
  }));
  const feed = fed([...calls, { start: 20, worker: 2, group: 4 }], { names: ACTOR });
  const [lane] = feed.lanes.all;
  expect(lane.rows.map(row => row.count)).toEqual([2, ...Array(ROWS - 1).fill(1)]);
  expect(lane.hidden).toBe(3);
  expect([...feed.lanes.row.subarray(ROWS, ROWS + 3)]).toEqual([HIDDEN, HIDDEN, HIDDEN]);
});

test('every span is in a block, at every zoom; wide ones have their own', () => {
  const made = many(4000);
  const feed = fed(made);
  const { begin, end } = feed.extent(0)!;
  for (const width of [50, 800, 20_000]) {
    const perSecond = width / (end - begin);
    let [counted, failed, blocks] = [0, 0, 0];
    for (const lane of feed.lanes.all) {
      let last = -1;
      eachBlock(feed.spans, lane.rows[0], begin, perSecond, width + 1, block => {
        counted += block.count;
        failed += block.failed;
        blocks += 1;
        expect(block.left).toBeGreaterThanOrEqual(last);
        expect(block.busy).toBeGreaterThanOrEqual(0);
        expect(block.busy).toBeLessThanOrEqual(1);
        last = Math.floor(block.left);
        const seconds = feed.spans.end[block.span] - feed.spans.start[block.span];
        if (seconds * perSecond >= 1.5) {
          expect(block.count).toBe(1);
        }
      });
    }
    expect(counted).toBe(4000);
    expect(failed).toBe(made.filter(span => span.flags === 1).length);
    expect(blocks).toBeLessThanOrEqual(3 * 2 * (width + 2));
  }
});

test('a part of the time has the blocks of that part only', () => {
  const feed = fed(many(3000));
  const row = feed.lanes.all[0].rows[0];
  const { spans } = feed;
  const [from, to] = [spans.start[row.at[300]], spans.end[row.at[320]]];
  const seen: number[] = [];
  eachBlock(spans, row, from, 1e6, (to - from) * 1e6 - 1e-3, block => {
    seen.push(block.span);
  });
  expect(seen).toEqual([...row.at.subarray(300, 321)].filter(i => spans.end[i] > from));
  expect(spanAt(spans, row, (from + spans.end[row.at[300]]) / 2, 0)).toBe(row.at[300]);
  expect(spanAt(spans, row, -5, 1)).toBe(-1);
});

test('figures of a stretch are the sums of what lies in it', () => {
  const made = many(2000);
  const feed = fed(made);
  const { begin, end } = feed.extent(0)!;
  for (const [a, b] of [
    [begin, end],
    [begin + (end - begin) * 0.31, begin + (end - begin) * 0.32]
  ]) {
    const inside = (span: Made): number =>
      Math.max(0, Math.min(span.start + span.took!, b) - Math.max(span.start, a));
    const found = figures(feed.lanes, a, b, end);
    expect(found.busy).toBeCloseTo(
      made.reduce((sum, span) => sum + inside(span), 0),
      2
    );
    expect(found.tasks).toBe(
      made.filter(span => span.start < b && Math.fround(span.took!) + span.start > a).length
    );
    expect(found.busy + found.idle).toBeLessThanOrEqual(3 * (b - a) * 1.0001);
    const bins = busyBins(feed.lanes, a, b, 40);
    const mean = bins.reduce((sum, bin) => sum + bin, 0) / 40;
    expect(mean * (b - a)).toBeCloseTo(found.busy, 2);
  }
  expect(figuresText(figures(feed.lanes, begin, end, end))).toMatch(
    /^2,000 tasks in .* · busy \d+ % · reading and storing \d+ % · idle \d+ % · \d+ failed$/
  );
  expect(figuresText(figures(feed.lanes, end + 5, end + 6, end))).toBe(
    'No task ran in this time.'
  );
});

test('a worker is idle between its tasks, an actor only when none of its methods runs', () => {
  const feed = fed(
    [
      { start: 0, took: 1 },
      { start: 3, took: 1 },
      { start: 0, took: 2, worker: 2, group: 4 },
      { start: 2, took: 2, worker: 2, group: 5 }
    ],
    { names: { ...ACTOR, 1: ['f', 'task', ''] } }
  );
  const found = figures(feed.lanes, 0, 4, 4);
  expect([found.lanes, found.busy, found.idle]).toEqual([2, 6, 2]);
  expect(ofLane(feed.spans, feed.lanes.all[0], 0.5, 3.25).busy).toBeCloseTo(0.75, 5);
});

test('how many waited to start', () => {
  const feed = fed([
    { start: 4, waited: 4 },
    { start: 8, waited: 6 },
    { start: 9, waited: 0 },
    { start: 9.5, waited: 9, attempt: 1 }
  ]);
  expect([...waitingBins(feed.spans, 0, 10, 5)]).toEqual([1, 2, 2, 1, 1]);
  expect([...waitingBins(feed.spans, 0, 10, 5, [7], 10)]).toEqual([1, 2, 2, 2, 2]);
});

test('marks of the axis are round, and never more than fit', () => {
  expect([0.0013, 0.9, 7, 100, 4000, 90_000, 3e6].map(s => tickStep(s, 8))).toEqual([
    0.0002, 0.2, 1, 15, 600, 21600, 604800
  ]);
  for (const seconds of [1e-4, 0.02, 3, 61, 1000, 50_000]) {
    const found = ticks({ begin: 100, end: 100 + seconds }, 100, 7);
    expect(found.length).toBeGreaterThan(1);
    expect(found.length).toBeLessThanOrEqual(8);
    expect(new Set(found.map(tick => tick.text)).size).toBe(found.length);
  }
  expect([0, 0.25, 1.5, 59.96, 65, 3725].map(s => since(s, 0.1))).toEqual([
    '0',
    '250 ms',
    '1.5 s',
    '60.0 s',
    '1:05.0',
    '1:02:05.0'
  ]);
  expect([119.99, 3599.99, -12].map(s => since(s, 1))).toEqual(['2:00', '1:00:00', '−12 s']);
});

test('zoom keeps the moment under the pointer, and everything is the most there is', () => {
  const extent = { begin: 0, end: 100 };
  const all = whole(extent);
  const closer = zoomed(all, extent, 0.5, 30);
  expect((30 - closer.begin) / (closer.end - closer.begin)).toBeCloseTo(
    (30 - all.begin) / (all.end - all.begin),
    9
  );
  expect(zoomed(closer, extent, 50, 30)).toEqual(all);
  expect(panned(closer, extent, 1e6).begin).toBeLessThan(100);
  expect(panned(closer, extent, -1e6).end).toBeGreaterThan(0);
  expect(between(60, 40, extent)).toEqual({ begin: 40, end: 60, follow: null });
  expect(showing(between(0, 10, extent), extent, 50, 51)).toEqual({
    begin: 45.5,
    end: 55.5,
    follow: null
  });
  let deep = all;
  for (let n = 0; n < 100; n += 1) {
    deep = zoomed(deep, extent, 0.5, 30);
  }
  expect(deep.end - deep.begin).toBeGreaterThan(1e-6);
});

test('follows what is new: all of it, or the newest part; not where somebody looks elsewhere', () => {
  const all = followed(null, { begin: 0, end: 10 });
  expect(followed(all, { begin: 0, end: 20 }).end).toBeGreaterThan(20);
  const newest = { begin: 5, end: 10, follow: 'newest' } as const;
  const moved = followed(newest, { begin: 0, end: 20 });
  expect([moved.end > 20, moved.end - moved.begin]).toEqual([true, 5]);
  const still = { begin: 2, end: 3, follow: null };
  expect(followed(still, { begin: 0, end: 20 })).toBe(still);
  expect(zoomed(all, { begin: 0, end: 10 }, 0.5, 0).follow).toBeNull();
});

test('the panel’s filter chooses spans', () => {
  const feed = fed([
    { start: 0, group: 1 },
    { start: 1, group: 2, flags: 1 },
    { start: 2, group: 2, worker: 5 }
  ]);
  const workers = [{ id: 'w5', pid: 105 }] as never;
  const lit = (change: object): number[] => {
    const fits = matcher({ ...NO_FILTER, ...change }, feed, { workers });
    return fits === null ? [-1] : [0, 1, 2].filter(fits);
  };
  expect(lit({})).toEqual([-1]);
  expect(lit({ text: 'G' })).toEqual([1, 2]);
  expect(lit({ cell: 'cell-1' })).toEqual([0]);
  expect(lit({ group: 2, state: 'failed' })).toEqual([1]);
  expect(lit({ worker: 'w5' })).toEqual([2]);
  expect(lit({ worker: 'gone' })).toEqual([]);
});

test('keys go from span to span and from lane to lane', () => {
  const feed = fed([
    { start: 0, took: 1, worker: 1 },
    { start: 2, took: 1, worker: 1 },
    { start: 2.2, took: 0.5, worker: 2 },
    { start: 9, took: 1, worker: 3 }
  ]);
  const layout = layoutOf(feed.lanes, feed.names, feed.living, true);
  const view = { begin: -1, end: 11 };
  const go = (at: number, key: string): number => neighbour(feed, layout, at, key, view);
  expect(go(-1, 'ArrowRight')).toBe(0);
  expect([go(0, 'ArrowRight'), go(1, 'ArrowRight'), go(1, 'ArrowLeft')]).toEqual([1, -1, 0]);
  expect([go(0, 'End'), go(1, 'Home')]).toEqual([1, 0]);
  expect([go(1, 'ArrowDown'), go(2, 'ArrowDown'), go(3, 'ArrowDown')]).toEqual([2, 3, -1]);
  expect(go(2, 'ArrowUp')).toBe(1);
  expect(placedAt(layout, layout.placed[1].top + 1)).toBe(layout.placed[1]);
  expect(placedAt(layout, 9999)).toBeNull();
  expect(spoken(feed, 2, 'worker 2')).toBe(
    'f on worker 2, done: started at 2.200 s, took 0.5 s, waited 0 s before.'
  );
});

test('the parts of a task’s time', () => {
  const feed = fed([{ start: 0, took: 2, reading: 0.5, storing: 0.25, waited: 4 }]);
  expect(parts(feed, 0).map(part => [part.key, part.seconds])).toEqual([
    ['waited', 4],
    ['reading', 0.5],
    ['running', 1.25],
    ['storing', 0.25]
  ]);
});

test('asks while somebody looks, with pauses, and once more for what came meanwhile', async () => {
  jest.useFakeTimers();
  try {
    const answers: Array<(value: unknown) => void> = [];
    const ask = (): Promise<never> =>
      new Promise(resolve => answers.push(resolve as (value: unknown) => void));
    const shared = new SharedFeed({ ask }, 'r');
    const told = jest.fn();
    const leave = shared.subscribe(told);
    shared.again();
    shared.again();
    await jest.advanceTimersByTimeAsync(0);
    expect(answers).toHaveLength(1);
    shared.again();
    shared.again();
    answers[0](answer([{ start: 0 }]));
    await jest.advanceTimersByTimeAsync(0);
    expect([told.mock.calls.length, answers.length]).toEqual([1, 1]);
    await jest.advanceTimersByTimeAsync(1000);
    expect(answers).toHaveLength(2);
    answers[1](answer([], { next: 1 }));
    await jest.advanceTimersByTimeAsync(1000);
    expect(answers).toHaveLength(2); // nothing is new
    shared.again();
    leave();
    await jest.advanceTimersByTimeAsync(5000);
    expect(answers).toHaveLength(2); // nobody looks
    expect(shared.feed.spans.count).toBe(1);
  } finally {
    jest.useRealTimers();
  }
});
