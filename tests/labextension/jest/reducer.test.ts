import { ERROR_LIMIT, HISTORY_LIMIT, TASK_LIMIT, type ErrorView } from '@fanlight/events';
import { reduce, type Action } from '@fanlight/model/reducer';
import { GROUP_LIMIT, INITIAL, type State } from '@fanlight/model/state';
import { delta, group, runtime, snapshot, store, task } from './samples';

function run(...actions: Action[]): State {
  return actions.reduce(reduce, INITIAL);
}

function error(id: string): ErrorView {
  return { task_id: id, group: 1, name: 'f', origin: '', time: 1, message: id, traceback: '' };
}

describe('events', () => {
  test('a snapshot gives data and makes it live', () => {
    const state = run(snapshot({ groups: [group(1)], tasks: [task('a')] }));
    expect(state.phase).toBe('live');
    expect(state.runtimeId).toBe('r1');
    expect([...state.data!.groups.keys()]).toEqual([1]);
    expect(state.data!.tasks.get('a')!.state).toBe('FINISHED');
  });

  test('a delta replaces the records that it names and keeps the others', () => {
    const before = run(snapshot({ tasks: [task('a', 'RUNNING'), task('b', 'RUNNING')] }));
    const after = reduce(before, delta(6, { tasks: [task('a', 'FAILED')] }));
    expect(after.data!.tasks.get('a')!.state).toBe('FAILED');
    expect(after.data!.tasks.get('b')).toBe(before.data!.tasks.get('b'));
    expect(before.data!.tasks.get('a')!.state).toBe('RUNNING');
  });

  test('what a delta does not mention keeps its identity', () => {
    const before = run(snapshot({ groups: [group(1)], workers: [], tasks: [task('a')] })).data!;
    const after = reduce({ ...INITIAL, data: before }, delta(6)).data!;
    for (const part of [
      'groups',
      'edges',
      'tasks',
      'workers',
      'gpus',
      'store',
      'errors'
    ] as const) {
      expect(after[part]).toBe(before[part]);
    }
    expect(after.time).toBe(100.6);
  });

  test('edges of both kinds between two groups are kept apart', () => {
    const edge = { source: 1, target: 2, count: 1, bytes: 0 };
    const state = run(
      snapshot({ edges: [{ ...edge, kind: 'data' }] }),
      delta(6, {
        edges: [
          { ...edge, kind: 'spawn' },
          { ...edge, kind: 'data', count: 9 }
        ]
      })
    );
    expect([...state.data!.edges.values()].map(e => [e.kind, e.count])).toEqual([
      ['data', 9],
      ['spawn', 1]
    ]);
  });

  test('deltas that the snapshot holds already are ignored', () => {
    const before = run(snapshot());
    expect(reduce(before, delta(5, { groups: [group(3)] })).data).toBe(before.data);
  });

  test('a gap is noticed, and a new snapshot mends it', () => {
    const gap = run(snapshot(), delta(6), delta(8, { groups: [group(3)] }));
    expect(gap.data!.gap).toBe(true);
    expect(gap.data!.groups.size).toBe(0);
    expect(reduce(gap, snapshot({ seq: 8 })).data!.gap).toBe(false);
  });

  test('a delta before any snapshot changes nothing', () => {
    expect(run(delta(1))).toBe(INITIAL);
  });

  test('an event of a newer version is ignored', () => {
    expect(reduce(INITIAL, { type: 'novelty' } as unknown as Action)).toBe(INITIAL);
  });
});

describe('bounds', () => {
  test('tasks: the oldest that are over go first, what runs stays', () => {
    const tasks = [task('runs', 'RUNNING')];
    for (let i = 0; i < TASK_LIMIT - 1; i++) {
      tasks.push(task(`t${i}`));
    }
    const state = run(
      snapshot({ tasks }),
      delta(6, { tasks: [task('x'), task('y', 'PENDING_ARGS')] })
    );
    const kept = state.data!.tasks;
    expect(kept.size).toBe(TASK_LIMIT);
    expect(kept.has('runs')).toBe(true);
    expect(kept.has('t0')).toBe(false);
    expect(kept.has('t1')).toBe(false);
    expect(kept.has('t2')).toBe(true);
    expect(kept.has('y')).toBe(true);
  });

  test('tasks: bounded even when all of them run', () => {
    const tasks = Array.from({ length: TASK_LIMIT + 50 }, (_, i) => task(`t${i}`, 'RUNNING'));
    expect(run(snapshot({ tasks })).data!.tasks.size).toBe(TASK_LIMIT);
  });

  test('groups, history and errors', () => {
    const groups = Array.from({ length: GROUP_LIMIT + 10 }, (_, i) => group(i));
    const errors = Array.from({ length: ERROR_LIMIT + 10 }, (_, i) => error(`e${i}`));
    let state = run(snapshot({ groups, errors, store: [store(1)] }));
    for (let i = 0; i < HISTORY_LIMIT + 10; i++) {
      state = reduce(state, delta(6 + i, { store: store(2 + i) }));
    }
    expect(state.data!.groups.size).toBe(GROUP_LIMIT);
    expect(state.data!.groups.has(9)).toBe(false);
    expect(state.data!.errors).toHaveLength(ERROR_LIMIT);
    expect(state.data!.store.length).toBeLessThanOrEqual(HISTORY_LIMIT);
    expect(state.data!.store[state.data!.store.length - 1].time).toBe(2 + HISTORY_LIMIT + 9);
  });

  test('a task that fails again replaces its error', () => {
    const state = run(
      snapshot({ errors: [error('a'), error('b')] }),
      delta(6, { errors: [{ ...error('a'), message: 'again' }] })
    );
    expect(state.data!.errors.map(e => e.message)).toEqual(['b', 'again']);
  });
});

describe('changes that were never told', () => {
  test('what the counts of the group rule out is forgotten, the oldest first', () => {
    const tasks = ['a', 'b', 'c'].map(id => task(id, 'RUNNING'));
    tasks.push(task('p', 'PENDING_ARGS'), task('other', 'RUNNING', { group: 2 }));
    const state = run(
      snapshot({ tasks }),
      delta(6, { groups: [group(1, { RUNNING: 1, FINISHED: 3 })] })
    );
    expect([...state.data!.tasks.keys()]).toEqual(['c', 'other']);
  });

  test('what fits the counts stays, with its identity', () => {
    const before = run(snapshot({ tasks: [task('a', 'RUNNING'), task('p', 'SUBMITTED')] }));
    const counts = { RUNNING: 1, PENDING_ARGS: 5, FINISHED: 3 };
    const after = reduce(before, delta(6, { groups: [group(1, counts)] }));
    expect(after.data!.tasks).toBe(before.data!.tasks);
  });
});

describe('phases', () => {
  const status = (
    state: 'none' | 'connecting' | 'live' | 'lost',
    id = '',
    reason = ''
  ): Action => ({
    type: 'status',
    state,
    reason,
    runtime_id: id
  });

  test('no runtime', () => {
    const state = run({ type: 'target' }, status('none', '', 'why'));
    expect(state).toMatchObject({ phase: 'none', reason: 'why', data: null });
  });

  test('the end keeps what was last seen, with its reason', () => {
    const state = run(
      status('live', 'r1'),
      snapshot(),
      { type: 'ended', reason: 'the kernel has gone' },
      status('none')
    );
    expect(state).toMatchObject({ phase: 'ended', reason: 'the kernel has gone' });
    expect(state.data).not.toBeNull();
  });

  test('an end without a word is an end too', () => {
    const state = run(snapshot(), status('lost', 'r1'), status('none', '', 'not started'));
    expect(state).toMatchObject({ phase: 'ended', reason: 'The runtime has ended' });
  });

  test('after a restart the old data stay until the new snapshot', () => {
    let state = run(snapshot(), { type: 'ended', reason: '' }, status('none'));
    state = reduce(state, status('connecting', 'r2'));
    expect(state.data!.runtime.id).toBe('r1');
    state = reduce(state, snapshot({ runtime: runtime('r2'), seq: 0 }));
    expect(state.data!.runtime.id).toBe('r2');
    expect(state.phase).toBe('live');
  });

  test('another notebook never shows the data of the one before', () => {
    const live = run(snapshot());
    expect(run(snapshot(), { type: 'target' }, status('none')).data).toBeNull();
    expect(
      [{ type: 'target' } as Action, status('connecting', 'r2')].reduce(reduce, live).data
    ).toBeNull();
  });

  test.each(['k2', ''])('what was said of the notebook before is not said of %j', next => {
    const late = (target: string, message: Action) => ({ ...message, target }) as Action;
    const state = run(
      { type: 'target', name: 'k1' },
      late('k1', status('live', 'r1')),
      snapshot(),
      { type: 'target', name: next },
      late('k1', status('live', 'r1')), // it was on its way
      snapshot(),
      late(next, status('none', '', 'not started'))
    );
    expect(state).toMatchObject({ phase: 'none', reason: 'not started', data: null });
  });

  test('a runtime that two notebooks have ends for both', () => {
    const late = (target: string, message: Action) => ({ ...message, target }) as Action;
    const state = run(
      { type: 'target', name: 'k1' },
      late('k1', status('live', 'r1')),
      snapshot(),
      { type: 'target', name: 'k2' },
      late('k2', status('live', 'r1')),
      late('k2', status('none', '', 'gone'))
    );
    expect(state.phase).toBe('ended');
    expect(state.data).not.toBeNull();
  });

  test('lost keeps the data', () => {
    const state = run(snapshot(), status('lost', 'r1', 'gone'));
    expect(state).toMatchObject({ phase: 'lost', reason: 'gone' });
    expect(state.data).not.toBeNull();
  });
});
