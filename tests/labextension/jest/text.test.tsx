/** Whatever text comes from a runtime, it stays text: every field of every event, in every section. */
import { renderToStaticMarkup } from 'react-dom/server';
import type { ReactElement } from 'react';
import type { ActorView, ObjectView, TaskView, WorkerView } from '@fanlight/events';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL, type Data } from '@fanlight/model/state';
import { SECTIONS } from '@fanlight/sections';
import { Header } from '@fanlight/sections/header';
import { Notice } from '@fanlight/sections/notice';
import { Drawer } from '@fanlight/views/drawer';
import { PanelModel } from '@fanlight/views/model';
import type { Selection } from '@fanlight/views/section';
import { stripAnsi } from '@fanlight/views/parts';
import { gpu, SILENT, group, runtime, snapshot, store, task } from './samples';

const BAD = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(1)</script>',
  "' onmouseover='alert(1)",
  '<svg/onload=alert(1)>',
  'javascript:alert(1)',
  '\u001b[31mred\u001b[0m',
  '\u202egnp.exe',
  'x'.repeat(100_000)
];
const nothing = (): void => undefined;
const never = new Promise<never>(nothing);
function everything(bad: string): Data {
  const worker: WorkerView = {
    id: 'w1',
    pid: 5,
    state: 'BUSY',
    cpu_percent: 1,
    rss: 1,
    task: bad,
    task_id: 't1',
    actor: bad,
    finished: 0,
    gpus: []
  };
  const actor: ActorView = {
    id: 'a1',
    class_name: bad,
    name: bad,
    namespace: bad,
    state: 'DEAD',
    worker: 'w1',
    pid: 5,
    queued: 0,
    finished: 0,
    restarts: 0,
    death_cause: bad
  };
  const object: ObjectView = {
    id: 'o1',
    size: 10,
    stored: true,
    creator: bad,
    origin: bad,
    holders: 1
  };
  const tasks: TaskView[] = [
    task('t1', 'RUNNING', { name: bad, worker: 'w1', error: bad }),
    task('t2', 'FAILED', { name: bad, deps: ['t1'], parent: 't1', error: bad })
  ];
  return reduce(
    INITIAL,
    snapshot({
      runtime: { ...runtime(), name: bad, engine: bad, version: bad, python: bad },
      groups: [
        { ...group(1, { RUNNING: 1, FAILED: 1 }), name: bad, origin: bad },
        { ...group(2, { FINISHED: 1 }), name: bad + '2', kind: 'actor' }
      ],
      edges: [{ source: 1, target: 2, count: 1, kind: 'data', bytes: 8 }],
      tasks,
      workers: [worker],
      actors: [actor],
      objects: [object],
      store: [store(1), store(2)],
      gpus: [
        gpu({
          name: bad,
          node: bad,
          uuid: bad,
          mig: bad,
          processes: [
            { pid: 7, memory: 1, name: bad, task: bad, task_id: 't1', worker: 'w1', actor: bad }
          ]
        }),
        gpu({ uuid: 'GPU-2', error: bad })
      ],
      gpu_status: bad,
      errors: [
        {
          task_id: 't2',
          group: 1,
          name: bad,
          origin: bad,
          time: 1,
          message: `ValueError: ${bad}`,
          traceback: `  File "${bad.replaceAll('"', '')}", line 3, in f\n    ${bad}`
        }
      ]
    })
  ).data!;
}

function sections(bad: string): Record<string, ReactElement> {
  const data = everything(bad);
  const state = { ...INITIAL, data, phase: 'live', reason: bad } as const;
  const runtimes = [
    { runtime_id: 'r', name: bad, engine: bad, pid: 7, kernel_ids: [], created: 1 }
  ];
  const model = new PanelModel({
    source: SILENT,
    pin: nothing,
    goToCell: nothing,
    loadChart: () => never,
    save: nothing
  });
  const drawer = (selection: Selection): ReactElement => (
    <Drawer model={model} selection={selection} data={data} live onSelect={nothing} />
  );
  const section = { model, state, data, live: true, selection: null, onSelect: nothing };
  return {
    ...Object.fromEntries(
      SECTIONS.flatMap(({ id, Body }) => [
        [id, <Body key={id} {...section} wide={false} />],
        [`wide ${id}`, <Body key={id} {...section} wide />]
      ])
    ),
    'drawer of a task': drawer({ kind: 'task', id: 't2' }),
    'drawer of a function': drawer({ kind: 'group', id: 1 }),
    'drawer of an actor': drawer({ kind: 'actor', id: 'a1' }),
    'drawer of a worker': drawer({ kind: 'worker', id: 'w1' }),
    'drawer of an object': drawer({ kind: 'object', id: 'o1' }),
    'drawer of an error': drawer({ kind: 'error', id: 't2' }),
    header: <Header state={state} focusTitle={bad} pinned="" onPin={nothing} />,
    notice: (
      <Notice
        state={{ ...INITIAL, phase: 'none', reason: bad, runtimes }}
        focusTitle={bad}
        onPin={nothing}
        onRetry={nothing}
      />
    )
  };
}

// React says that effects of layout do nothing here; they draw nothing either.
beforeAll(() => void jest.spyOn(console, 'error').mockImplementation(nothing));
afterAll(() => jest.restoreAllMocks());

const NAMES = Object.keys(sections(''));

test.each(NAMES)('%s shows text as text', name => {
  const plain = elements(sections('harmless')[name]!);
  for (const bad of BAD) {
    const shown = elements(sections(bad)[name]!);
    expect(shown.tags).toEqual(plain.tags);
    expect(shown.links).toEqual([]);
  }
});

test('the sections show what they are given', () => {
  const bad = '<img src=x onerror=alert(1)>';
  const silent = NAMES.filter(
    name => !renderToStaticMarkup(sections(bad)[name]!).includes('&lt;img src=x onerror')
  );
  // These ask first.
  expect(silent).toEqual(['timeline', 'wide timeline']);
});

test('what steers a terminal is left out of tracebacks', () => {
  expect(stripAnsi('\u001b[1;31mred\u001b[0m \u001b[2Kx')).toBe('red x');
});

/** The elements of some markup, the names of their attributes, and where links lead. */
function elements(element: ReactElement) {
  const tags: string[] = [];
  const links: string[] = [];
  // React writes attributes in double quotes, and no bare "<", ">" or quote in texts and values.
  for (const [, tag, rest] of renderToStaticMarkup(element).matchAll(
    /<(\/?[^\s<>]+)([^<>]*)>/g
  )) {
    const attributes = [...rest!.matchAll(/([^\s="]+)(?:="([^"]*)")?/g)];
    tags.push([tag, ...attributes.map(a => a[1])].join(' '));
    links.push(
      ...attributes
        .filter(a => ['href', 'src', 'action', 'srcdoc', 'formaction'].includes(a[1]!))
        .map(a => a[2]!)
    );
  }
  return { tags, links };
}
