import { reduce } from '@fanlight/model/reducer';
import {
  memoryShare,
  memoryText,
  progressRow,
  progressRows,
  runtimeOf,
  stageCounts,
  statusText,
  tasksOf,
  totals
} from '@fanlight/model/selectors';
import { INITIAL, type State } from '@fanlight/model/state';
import { delta, group, runtime, snapshot, store, task } from './samples';

describe('progress', () => {
  test('seven states become five', () => {
    const counts = stageCounts(
      group(1, {
        PENDING_ARGS: 1,
        PENDING_RESOURCES: 2,
        SUBMITTED: 3,
        RUNNING: 4,
        FINISHED: 5,
        FAILED: 6,
        CANCELLED: 7
      })
    );
    expect(counts).toEqual({ pending: 6, running: 4, done: 5, failed: 6, cancelled: 7 });
  });

  test('rate and estimate come from the tasks that ended lately', () => {
    const g = group(1, { FINISHED: 10, RUNNING: 2, PENDING_RESOURCES: 18 });
    const row = progressRow(
      g,
      [
        { time: 90, ended: 0 },
        { time: 95, ended: 10 }
      ],
      100
    );
    expect(row.rate).toBeCloseTo(1);
    expect(row.eta).toBeCloseTo(20);
    expect(row).toMatchObject({ total: 30, ended: 10, active: true });
  });

  test('no estimate from nothing, none at the end', () => {
    const g = group(1, { FINISHED: 1, RUNNING: 1 });
    expect(progressRow(g, [], 100)).toMatchObject({ rate: null, eta: null });
    expect(progressRow(g, [{ time: 100, ended: 1 }], 100)).toMatchObject({
      rate: null,
      eta: null
    });
    const old = [
      { time: 10, ended: 0 },
      { time: 20, ended: 1 }
    ];
    expect(progressRow(g, old, 100)).toMatchObject({ rate: null, eta: null });
    const done = group(1, { FINISHED: 2 });
    expect(progressRow(done, old, 21)).toMatchObject({ active: false, rate: null, eta: null });
  });

  test('the mean is over what ran', () => {
    const g = { ...group(1, { FINISHED: 3, FAILED: 1, CANCELLED: 5 }), duration: 8 };
    expect(progressRow(g, [], 100).mean).toBe(2);
    expect(progressRow(group(1, { PENDING_ARGS: 1 }), [], 100).mean).toBeNull();
  });

  test('newest first, and the samples of the reducer give a rate', () => {
    let state: State = reduce(
      INITIAL,
      snapshot({ groups: [group(1, { FINISHED: 1 }, 10), group(2, { RUNNING: 20 }, 20)] })
    );
    for (let i = 1; i <= 20; i++) {
      const counts = { RUNNING: 20 - i / 2, FINISHED: i / 2 };
      state = reduce(state, delta(5 + i, { time: 100 + i, groups: [group(2, counts, 20)] }));
    }
    const rows = progressRows(state.data!);
    expect(rows.map(r => r.group.id)).toEqual([2, 1]);
    expect(rows[0].rate).toBeCloseTo(0.5, 1);
    expect(rows[0].eta).toBeCloseTo(20, 0);
  });
});

describe('totals and status', () => {
  const data = reduce(
    INITIAL,
    snapshot({
      groups: [group(1, { RUNNING: 14, FINISHED: 3 })],
      store: [store(1, 31, 100)]
    })
  );

  test('totals', () => {
    expect(totals(data.data!)).toMatchObject({ cpus: 2, cpusUsed: 2, storeShare: 0.31 });
  });

  test('the status bar', () => {
    expect(statusText(data)).toBe('2/2 CPU · 14 running · store 31 %');
    expect(statusText({ ...data, phase: 'ended' })).toBe('Fanlight');
    expect(statusText(INITIAL)).toBe('Fanlight');
    const idle = snapshot({ runtime: { ...runtime(), available: { CPU: 2 } } });
    expect(statusText(reduce(INITIAL, idle))).toBe('0/2 CPU · idle');
  });
});

test('tasks of a group in the order of submission, ties by id', () => {
  const tasks = [
    task('c', 'RUNNING', { submitted: 2 }),
    task('b', 'RUNNING', { submitted: 1 }),
    task('a', 'RUNNING', { submitted: 1 }),
    task('other', 'RUNNING', { group: 2 })
  ];
  expect(tasksOf(tasks, 1).map(t => t.id)).toEqual(['a', 'b', 'c']);
});

test('how long a task ran', () => {
  expect(runtimeOf(task('a', 'PENDING_ARGS'), 100)).toBeNull();
  expect(runtimeOf(task('a', 'RUNNING', { started: 90 }), 100)).toBe(10);
  expect(runtimeOf(task('a', 'FINISHED', { started: 90, finished: 95 }), 100)).toBe(5);
});

test('memory is shown once it is known', () => {
  const before = reduce(INITIAL, snapshot()).data!;
  expect([memoryText(before), memoryShare(before)]).toEqual(['', null]);
  const known = { ...runtime(), memory_used: 312e6, memory_limit: 400e6 };
  const after = reduce(INITIAL, snapshot({ runtime: known })).data!;
  expect([memoryText(after), memoryShare(after)]).toEqual(['312 MB of 400 MB memory', 0.78]);
});
