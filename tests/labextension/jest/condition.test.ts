/** Each state that is not simply a runtime at work says why, and offers what helps. */
import { condition, ending, type Circumstances } from '@fanlight/model/condition';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL, type State } from '@fanlight/model/state';
import { group, snapshot } from './samples';

const HERE: Circumstances = { title: 'a.ipynb', pinned: '', canStart: true };
const data = reduce(INITIAL, snapshot({ groups: [group(1, { FINISHED: 1 })] })).data;
const other = {
  runtime_id: 'r',
  name: 'x',
  engine: 'local',
  pid: 7,
  kernel_ids: [],
  created: 1
};

const said = (state: Partial<State>, around: Partial<Circumstances> = {}) =>
  condition({ ...INITIAL, ...state }, { ...HERE, ...around });

test('a runtime at work needs no words', () => {
  expect(said({ phase: 'live', data })).toBeNull();
  expect(said({ phase: 'connecting', data })).toBeNull();
});

test('before anything is known it says what it waits for', () => {
  expect(said({})).toMatchObject({ form: 'page', tone: 'busy', steps: [] });
  expect(said({ phase: 'connecting' })!.title).toBe('Connecting to the runtime…');
});

test('without a runtime: start one, or choose one that runs elsewhere', () => {
  expect(said({ phase: 'none' })).toMatchObject({
    title: 'No runtime here yet',
    steps: ['start'],
    code: 'import fanlight\nfanlight.init()'
  });
  expect(said({ phase: 'none', runtimes: [other] })!.steps).toEqual(['start', 'choose']);
  expect(said({ phase: 'none' }, { canStart: false })!.steps).toEqual([]);
  expect(said({ phase: 'none' }, { title: '' })).toMatchObject({
    title: 'No notebook is open',
    steps: []
  });
});

test('a runtime that was held on to and is gone leads back to the notebook', () => {
  const gone = said({ phase: 'none', runtimes: [other] }, { pinned: 'r1' })!;
  expect(gone.title).toBe('This runtime has ended');
  expect(gone.steps).toEqual(['follow', 'choose']);
  expect(said({ phase: 'ended', data }, { pinned: 'r1' })!.steps).toEqual(['follow']);
});

test('a runtime that ended can be started again, and what was seen stays', () => {
  const ended = said({ phase: 'ended', data, reason: 'shutdown' })!;
  expect(ended).toMatchObject({ form: 'line', tone: 'calm', steps: ['start'] });
  expect(ended.text).toMatch(
    /^The runtime has ended: shutdown\. The next .* This is what it was/
  );
  expect(said({ phase: 'ended', data }, { title: '' })!.steps).toEqual([]);
});

test('a lost runtime says that it is tried again', () => {
  const lost = said({ phase: 'lost', data })!;
  expect(lost).toMatchObject({ form: 'line', tone: 'bad' });
  expect(lost.text).toContain('Trying again');
});

test.each([
  ['extension', ['retry'], 'jupyter server extension enable fanlight_lab'],
  ['access', ['reload', 'retry'], ''],
  ['silent', ['retry'], ''],
  ['version', ['reload', 'retry'], ''],
  [undefined, ['retry'], '']
] as const)('a server that cannot be reached: %s', (cause, steps, code) => {
  const link = { state: 'waiting', seconds: 0.4, reason: '', cause } as const;
  const without = said({ link, phase: 'live' })!;
  expect(without).toMatchObject({ form: 'page', tone: 'bad', steps, code });
  expect(said({ link, data })!.form).toBe('line');
  if (cause === 'silent') {
    expect(without.text).toContain('Trying again in 1 s.'); // never in 0
  }
});

test('a runtime at which nothing has happened shows what to do first', () => {
  const fresh = reduce(INITIAL, snapshot()).data;
  const first = said({ phase: 'live', data: fresh })!;
  expect(first).toMatchObject({ form: 'line', title: 'No tasks yet' });
  expect(first.code).toContain('@fanlight.remote');
  expect(first.text).toContain('2 CPUs');
});

test('why it ended is one sentence', () => {
  expect(ending('')).toBe('The runtime has ended.');
  expect(ending('shutdown.')).toBe('The runtime has ended: shutdown.');
  expect(ending('The kernel died.')).toBe('The kernel died.');
});
