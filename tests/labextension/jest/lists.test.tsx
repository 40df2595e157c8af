/** Progress, errors, lists and lines of output: what is counted, grouped and said. */
import { renderToStaticMarkup } from 'react-dom/server';
import type { ErrorView, Snapshot, TaskView } from '@fanlight/events';
import type { LogLine } from '@fanlight/answers';
import { causesOf, framesOf, kindOf, placeOf, withoutKind } from '@fanlight/model/causes';
import { LINES_HELD, NO_LINES, begins, taken } from '@fanlight/model/loglines';
import { reduce } from '@fanlight/model/reducer';
import { cellRows, progressRows } from '@fanlight/model/selectors';
import { INITIAL } from '@fanlight/model/state';
import { SECTIONS } from '@fanlight/sections';
import { shares } from '@fanlight/sections/details/times';
import { passes } from '@fanlight/sections/running';
import { NO_FILTER, PanelModel } from '@fanlight/views/model';
import { SILENT, group, snapshot, task } from './samples';

const nothing = (): void => undefined;

function shown(id: string, event: Partial<Snapshot>): string {
  const state = reduce(INITIAL, snapshot(event));
  const model = new PanelModel({
    source: SILENT,
    pin: nothing,
    goToCell: nothing,
    cellTitle: origin => (origin === 'c1' ? '[5] load all' : null),
    loadChart: () => new Promise<never>(nothing),
    save: nothing
  });
  const { Body } = SECTIONS.find(section => section.id === id)!;
  return renderToStaticMarkup(
    <Body
      model={model}
      state={state}
      data={state.data!}
      live
      wide
      selection={null}
      onSelect={nothing}
    />
  );
}

const TRACE = `fanlight::load() (pid=31719)
Traceback (most recent call last):
  File "/tmp/ipykernel_77/123.py", line 4, in load
    raise ValueError(f"part {i} is missing")
  File "/usr/lib/python3/json/decoder.py", line 355, in raw_decode
    obj, end = self.scan_once(s, idx)
ValueError: part 1 is missing`;

function failure(n: number, more: Partial<ErrorView> = {}): ErrorView {
  return {
    task_id: `t${n}`,
    group: 1,
    name: 'load',
    origin: 'c1',
    time: n,
    message: `ValueError: part ${n} is missing`,
    traceback: TRACE,
    ...more
  };
}

test('progress of each function, and in words', () => {
  const text = shown('progress', {
    groups: [group(1, { FINISHED: 3, FAILED: 1, RUNNING: 2 })]
  });
  expect(text).toContain('1 failed');
  expect(text).toContain('aria-valuetext="3 done, 2 running, 1 failed"');
  expect(text).toContain('data-total="6"');
  expect(shown('progress', {})).toContain('No tasks yet');
});

test('progress of each cell: its functions together, the slowest says when it ends', () => {
  const groups = [
    { ...group(1, { FINISHED: 2, RUNNING: 2 }), origin: 'c1', duration: 2 },
    { ...group(2, { FINISHED: 5, FAILED: 1 }), origin: 'c1', duration: 10 },
    { ...group(3, { FINISHED: 1 }), origin: '' },
    { ...group(4, { FINISHED: 1 }), origin: 'c2' }
  ];
  const data = reduce(INITIAL, snapshot({ groups })).data!;
  const rows = progressRows(data);
  const cells = cellRows(rows.map(row => ({ ...row, eta: row.active ? 7 : null, rate: 2 })));
  expect(cells.map(cell => cell.origin)).toEqual(['c2', 'c1', '']);
  const [, cell] = cells;
  expect(cell).toMatchObject({ total: 10, ended: 8, active: true, eta: 7, mean: 12 / 8 });
  expect(cell!.counts).toMatchObject({ done: 7, failed: 1, running: 2, pending: 0 });
  expect(cell!.rows.map(row => row.group.id)).toEqual([2, 1]);
  // Nothing is promised while one of its functions has no rate yet.
  expect(cellRows(rows)[1]!.eta).toBeNull();
});

test('failures with the same cause are one', () => {
  const errors = [
    failure(1),
    failure(5, { name: 'other' }),
    failure(2),
    failure(3, { message: 'KeyError: 3' }),
    failure(4, { message: 'The worker (pid 7) died: exit code 3.', traceback: '' }),
    failure(6, { message: 'The worker (pid 8) died: exit code 3.', traceback: '' })
  ];
  const causes = causesOf(errors);
  expect(causes.map(cause => [cause.name, cause.kind, cause.count])).toEqual([
    ['load', '', 2],
    ['other', 'ValueError', 1],
    ['load', 'KeyError', 1],
    ['load', 'ValueError', 2]
  ]);
  expect(causes[3]).toMatchObject({
    first: 1,
    last: 2,
    tasks: ['t2', 't1'],
    message: 'ValueError: part 2 is missing'
  });
});

test('where the own code raised', () => {
  expect(placeOf(TRACE)).toEqual({
    file: '/tmp/ipykernel_77/123.py',
    line: 4,
    function: 'load',
    code: 'raise ValueError(f"part {i} is missing")'
  });
  expect(framesOf(TRACE)).toHaveLength(2);
  expect(framesOf('  File "a.py", line 1, in f\n  File "b.py", line 2, in g')).toEqual([
    { file: 'a.py', line: 1, function: 'f', code: '' },
    { file: 'b.py', line: 2, function: 'g', code: '' }
  ]);
  expect(placeOf('no traceback')).toBeNull();
});

test('kinds of errors', () => {
  expect(kindOf('pkg.mod.Broken: it is')).toBe('Broken');
  expect(kindOf('KeyboardInterrupt')).toBe('KeyboardInterrupt');
  expect(kindOf('At least one of the arguments: x')).toBe('');
  expect(withoutKind('pkg.Broken: it: is')).toBe('it: is');
  expect(withoutKind('a sentence: of words')).toBe('a sentence: of words');
});

test('a long traceback is looked through in no time', () => {
  const long = `  File "${'x'.repeat(50_000)}\n`.repeat(20) + ' '.repeat(200_000) + TRACE;
  expect(placeOf(long)?.line).toBe(4);
});

test('errors say how often, and which cell', () => {
  const errors = Array.from({ length: 30 }, (_, i) => failure(i));
  const text = shown('errors', { errors, groups: [group(1, { FAILED: 50 })] });
  expect(text).toContain('>30<');
  expect(text).toContain('[5] load all');
  expect(text).toContain('The newest 30 of 50 failures.');
  expect(shown('errors', {})).toContain('No task has failed.');
});

test('running tasks come before those that wait, each the longest first', () => {
  const tasks = [
    task('a', 'PENDING_ARGS', { submitted: 10, name: 'waits-long' }),
    task('b', 'RUNNING', { started: 90, name: 'runs-short' }),
    task('c', 'FINISHED', { name: 'over' }),
    task('d', 'PENDING_ARGS', { submitted: 20, name: 'waits-short' }),
    task('e', 'RUNNING', { started: 50, name: 'runs-long' })
  ];
  const groups = [group(1, { RUNNING: 2, PENDING_ARGS: 9, FINISHED: 1 })];
  const text = shown('running', { tasks, groups });
  const names = [...text.matchAll(/title="((?:waits|runs|over)-[^"]*)"/g)].map(m => m[1]);
  expect(names.filter((name, i) => names.indexOf(name) === i)).toEqual([
    'runs-long',
    'runs-short',
    'waits-long',
    'waits-short'
  ]);
  expect(text).toContain('4 of 11 unfinished tasks');
});

test('the filter that sections share', () => {
  const groups = new Map([[1, { ...group(1), origin: 'c1' }]]);
  const one: TaskView = task('a', 'RUNNING', { worker: 'w', name: 'Load' });
  const with_ = (change: object): boolean => passes(one, { ...NO_FILTER, ...change }, groups);
  expect(with_({})).toBe(true);
  expect(with_({ text: 'lo', cell: 'c1', group: 1, state: 'running', worker: 'w' })).toBe(true);
  for (const change of [
    { text: 'x' },
    { cell: 'c2' },
    { group: 2 },
    { state: 'done' },
    { worker: 'v' }
  ]) {
    expect(with_(change)).toBe(false);
  }
});

test('parts of a time: what is short is still seen, and all are one', () => {
  const parts = shares({ waited: 100, reading: 0, running: 100, storing: 0.001 });
  expect(parts.map(([part]) => part)).toEqual(['waited', 'running', 'storing']);
  expect(parts.reduce((sum, [, share]) => sum + share, 0)).toBeCloseTo(1);
  expect(parts[2]![1]).toBeGreaterThan(0.01);
  expect(shares({ waited: 0, reading: 0, running: 0, storing: 0 })).toEqual([]);
});

function line(n: number, more: Partial<LogLine> = {}): LogLine {
  return {
    time: n,
    worker: 'w',
    pid: 1,
    stream: 'out',
    task: 't',
    name: 'f',
    origin: '',
    text: String(n),
    ...more
  };
}

test('lines of output: added after the cursor, bounded, begun anew when told so', () => {
  const answer = { reset: false, more: false, note: '' };
  let held = taken(NO_LINES, { ...answer, lines: [line(1)], cursor: 1, more: true });
  expect(held).toMatchObject({ cursor: 1, older: true });
  expect(taken(held, { ...answer, lines: [], cursor: 1 })).toBe(held);
  held = taken(held, { ...answer, lines: [line(2)], cursor: 2 });
  expect(held.lines.map(l => l.text)).toEqual(['1', '2']);
  const many = Array.from({ length: LINES_HELD }, (_, i) => line(i));
  held = taken(held, { ...answer, lines: many, cursor: 3 });
  expect(held.lines).toHaveLength(LINES_HELD);
  expect(held.lines[0]!.text).toBe('0');
  held = taken(held, { ...answer, lines: [line(9)], cursor: 4, reset: true });
  expect(held).toMatchObject({ cursor: 4, older: false });
  expect(held.lines).toHaveLength(1);
});

test('who wrote is said once for all lines of one', () => {
  const lines = [line(1), line(2), line(3, { stream: 'err' }), line(4, { task: 'u' })];
  expect(lines.map((_, i) => begins(lines, i))).toEqual([true, false, true, true]);
});
