/** The critical path: what decided when a run was over, of runs whose answer is known. */
import { criticalPath } from '@fanlight/sections/timeline/critical';
import { advice } from '@fanlight/sections/timeline/words';
import { fed, many, taskId, type Made } from './spans';

function walk(made: Made[], clients: ReadonlyMap<string, number> = new Map(), wanted = -1) {
  const feed = fed(made);
  const path = criticalPath(feed.spans, clients, wanted)!;
  const steps = path.steps.map(s => [s.span, s.cause, s.from, s.to]);
  return { path, steps };
}

test('nothing ran: there is none', () => {
  expect(criticalPath(fed([]).spans)).toBeNull();
  expect(criticalPath(fed([{ start: 0 }]).spans, new Map(), 5)).toBeNull();
});

test('follows the argument that came last', () => {
  const { path, steps } = walk([
    { start: 0, took: 2, worker: 1 },
    { start: 0, took: 5, worker: 2 },
    // Waited for both; the second one was last.
    { start: 5.5, took: 1, worker: 3, waited: 5.5, gate: 2 },
    { start: 0, took: 6, worker: 4 }
  ]);
  expect(steps).toEqual([
    [1, 'first', 0, 5],
    [2, 'argument', 5.5, 6.5]
  ]);
  expect(path.gaps.argument).toBeCloseTo(0.5, 6);
  expect([path.begin, path.end, path.running]).toEqual([0, 6.5, 6]);
  expect(path.unlimited).toBeCloseTo(6, 6);
});

test('a worker that was busy, where the task was ready before', () => {
  const { path, steps } = walk([
    { start: 0, took: 4 },
    { start: 4, took: 4, waited: 4 },
    { start: 8, took: 4, waited: 8 }
  ]);
  expect(steps.map(step => step[1])).toEqual(['first', 'worker', 'worker']);
  expect(path.unlimited).toBe(4);
  expect(advice(path)[0]).toContain('more workers help');
});

test('what still runs does not count', () => {
  const feed = fed(
    [
      { start: 0, took: 1 },
      { start: 1, took: 1, waited: 1 }
    ],
    {
      running: [[taskId(9), 1, 2, 102, 0, 1, 0, '']],
      now: 50
    }
  );
  const path = criticalPath(feed.spans)!;
  expect([path.end, path.unlimited]).toEqual([2, 1]);
});

test('the program that submitted late', () => {
  const { path, steps } = walk([
    { start: 0, took: 1, worker: 1 },
    { start: 4, took: 1, worker: 2, waited: 0.01 }
  ]);
  expect(steps.map(step => step[1])).toEqual(['first', 'program']);
  expect(path.gaps.program).toBeCloseTo(3, 2);
  expect(advice(path).join()).toContain('your program submitted the next task only then');
});

test('an attempt that failed comes before the one that was made instead', () => {
  const { steps } = walk([
    { start: 0, took: 1, number: 9, flags: 1 },
    { start: 3, took: 1, number: 9, attempt: 1, waited: 3, worker: 2 }
  ]);
  expect(steps).toEqual([
    [0, 'first', 0, 1],
    [1, 'retry', 3, 4]
  ]);
});

test('a task that waits for those that it submitted', () => {
  const client = '02'.repeat(16); // worker 1 submits as this one
  const { path, steps } = walk(
    [
      { start: 1, took: 3, worker: 2, client: 2, waited: 0.5, number: 1 },
      { start: 4.5, took: 4, worker: 2, client: 2, waited: 0.25, number: 2 },
      { start: 0, took: 10, worker: 1 }
    ],
    new Map([[client, 1]])
  );
  expect(steps).toEqual([
    [2, 'first', 0, 0.5],
    [0, 'parent', 1, 4],
    [2, 'argument', 4, 4.25],
    [1, 'parent', 4.5, 8.5],
    [2, 'argument', 8.5, 10]
  ]);
  expect(path.end - path.begin).toBe(10);
});

test('to one task, as it was selected', () => {
  const made = [
    { start: 0, took: 1, worker: 1 },
    { start: 1, took: 1, worker: 1, waited: 1, gate: 1 },
    { start: 0, took: 9, worker: 2 }
  ];
  expect(walk(made).steps).toEqual([[2, 'first', 0, 9]]);
  expect(walk(made, new Map(), 1).steps.map(step => step[0])).toEqual([0, 1]);
});

test('reading and storing are those parts of it that are on the path', () => {
  const { path } = walk([
    { start: 0, took: 4, reading: 1, storing: 0.5, group: 1 },
    { start: 4, took: 2, reading: 0.5, waited: 2, group: 2 }
  ]);
  expect([path.reading, path.storing]).toEqual([1.5, 0.5]);
  expect(path.groups).toEqual([
    { group: 1, seconds: 4, steps: 1 },
    { group: 2, seconds: 2, steps: 1 }
  ]);
  expect(advice(path).join()).toContain('pass less data');
});

test('is without overlaps and complete, whatever ran', () => {
  const made = many(3000, 4).map((span, n) =>
    n % 3 === 0 && n > 9 ? { ...span, gate: n - 7 } : span
  );
  const feed = fed(made);
  const path = criticalPath(feed.spans)!;
  let last = -Infinity;
  let sum = 0;
  for (const step of path.steps) {
    expect(step.from).toBeGreaterThanOrEqual(last - 1e-2);
    expect(step.to).toBeGreaterThanOrEqual(step.from);
    sum += step.to - step.from + step.gap;
    last = step.to;
  }
  expect(path.end).toBe(feed.lanes.end);
  expect(sum).toBeCloseTo(path.end - path.begin, 1);
  expect(path.unlimited).toBeLessThanOrEqual(path.end - path.begin);
});

test('ends with tasks that take no time, and with clocks that go wrong', () => {
  const still = Array.from({ length: 50 }, () => ({ start: 5, took: 0, gate: 3 }));
  expect(walk(still).path.steps.length).toBeLessThan(60);
  const circle = [
    { start: 0, took: 5, gate: 2 },
    { start: 1, took: 5, gate: 1, worker: 2 }
  ];
  expect(walk(circle).path.steps.length).toBeLessThan(5);
});
