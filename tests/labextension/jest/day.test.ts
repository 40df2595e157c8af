/** A panel that is left open for a day of work: what it holds stays bounded, whatever comes. */
import {
  ERROR_LIMIT,
  HISTORY_LIMIT,
  TASK_LIMIT,
  type ActorView,
  type TaskView
} from '@fanlight/events';
import { reduce } from '@fanlight/model/reducer';
import {
  ACTOR_LIMIT,
  EDGE_LIMIT,
  GROUP_LIMIT,
  INITIAL,
  type Data,
  type State
} from '@fanlight/model/state';
import { delta, group, snapshot, store, task } from './samples';

const ACTOR: ActorView = {
  id: '',
  class_name: 'C',
  name: '',
  namespace: '',
  state: 'ALIVE',
  worker: '',
  pid: 1,
  queued: 0,
  finished: 0,
  restarts: 0,
  death_cause: ''
};

/** How many values hang on something, all in all. */
function count(value: unknown): number {
  if (value instanceof Map) {
    return [...value.values()].reduce((sum: number, each) => sum + count(each), 1);
  }
  if (typeof value === 'object' && value !== null) {
    return Object.values(value).reduce((sum: number, each) => sum + count(each), 1);
  }
  return 1;
}

/** Ten minutes of a busy notebook in a step: everything is new, some tasks are never heard of again. */
function step(state: State, i: number): State {
  const time = 1000 + i * 10;
  const tasks: TaskView[] = [];
  for (let k = 0; k < 40; k += 1) {
    tasks.push(
      task(`t${i}-${k}`, k % 10 ? 'FINISHED' : 'RUNNING', {
        group: i % 5 ? i : 7,
        submitted: time
      })
    );
  }
  return reduce(
    state,
    delta(i + 1, {
      time,
      groups: [group(i, { FINISHED: 36, RUNNING: 4 }), group(7, { FINISHED: i, RUNNING: 4 })],
      edges: [1, 2, 3].map(k => ({
        source: i,
        target: i + k,
        kind: 'data',
        count: 1,
        bytes: 8
      })),
      tasks,
      actors: [{ ...ACTOR, id: `a${i}` }],
      store: store(time, i % 100),
      errors: [
        {
          task_id: `t${i}`,
          group: i,
          name: 'f',
          origin: 'cell',
          time,
          message: 'ValueError',
          traceback: 'x'
        }
      ]
    })
  );
}

test('what is held after a day is what is held after an hour', () => {
  let state = reduce(INITIAL, snapshot({ seq: 0 }));
  const sizes: number[] = [];
  for (let i = 0; i < 1600; i += 1) {
    state = step(state, i);
    if (i === 799 || i === 1599) {
      sizes.push(count(state));
    }
  }
  const data = state.data as Data;
  expect(data.seq).toBe(1600);
  expect(data.gap).toBe(false);
  expect(data.tasks.size).toBeLessThanOrEqual(TASK_LIMIT);
  expect(data.groups.size).toBeLessThanOrEqual(GROUP_LIMIT);
  expect(data.samples.size).toBeLessThanOrEqual(GROUP_LIMIT);
  expect(data.edges.size).toBeLessThanOrEqual(EDGE_LIMIT);
  expect(data.actors.size).toBeLessThanOrEqual(ACTOR_LIMIT);
  expect(data.errors.length).toBeLessThanOrEqual(ERROR_LIMIT);
  expect(data.store.length).toBeLessThanOrEqual(HISTORY_LIMIT);
  expect(sizes[1]).toBeLessThan(sizes[0] * 1.05);
});

test('what a delta does not touch is the same object afterwards', () => {
  const first = reduce(
    reduce(INITIAL, snapshot({ seq: 0 })),
    delta(1, { tasks: [task('a', 'FINISHED')], groups: [group(1, { FINISHED: 1 })] })
  ).data!;
  const state = { ...INITIAL, data: first };
  const quiet = reduce(state, delta(2, { store: store(2) })).data!;
  for (const key of ['tasks', 'groups', 'edges', 'actors', 'errors', 'samples'] as const) {
    expect(quiet[key]).toBe(first[key]);
  }
  const busy = reduce(state, delta(2, { tasks: [task('b', 'RUNNING')] })).data!;
  expect(busy.tasks.get('a')).toBe(first.tasks.get('a'));
  expect(first.tasks.has('b')).toBe(false); // a replay keeps earlier moments
});
