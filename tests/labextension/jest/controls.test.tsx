/** What is said before something is ended, and what is offered at all. */
import { renderToStaticMarkup } from 'react-dom/server';
import type { ActorView } from '@fanlight/events';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL, type Data } from '@fanlight/model/state';
import { Controls, losses } from '@fanlight/sections/controls';
import { CancelGroups } from '@fanlight/views/cancel';
import { PanelModel } from '@fanlight/views/model';
import { afterClick } from '@fanlight/views/selection';
import { SILENT, group, runtime, snapshot, store } from './samples';

const nothing = (): void => undefined;

function data(more: Parameters<typeof snapshot>[0]): Data {
  return reduce(INITIAL, snapshot(more)).data!;
}

test('what ends with a runtime is named; nothing is asked where nothing is lost', () => {
  expect(losses(data({ groups: [group(1, { FINISHED: 3 })] }))).toBe('');
  const actor = { id: 'a', state: 'ALIVE' } as ActorView;
  const said = losses(
    data({
      groups: [group(1, { RUNNING: 1, PENDING_ARGS: 2 })],
      actors: [actor, { ...actor, id: 'b', state: 'DEAD' }],
      store: [{ ...store(1, 2_000_000), objects: 2 }]
    })
  );
  expect(said).toBe(
    'Lost with it: 1 running task, 2 waiting tasks, 1 actor, 2 objects (2 MB).'
  );
});

test('a runtime is restarted by the notebook that started it only', () => {
  const restartHere = (): Promise<void> => Promise.resolve();
  const model = new PanelModel({
    source: SILENT,
    pin: nothing,
    goToCell: nothing,
    restartHere,
    loadChart: () => new Promise(nothing),
    save: nothing
  });
  const drivers = [{ id: 'd', pid: 1, kernel_id: 'k1', job: 1 }];
  const live = data({ runtime: { ...runtime(), drivers } });
  const shown = (kernel: string): string =>
    renderToStaticMarkup(
      <Controls model={model} data={live} recordings={[]} focusKernel={kernel} />
    );
  expect(shown('k1')).toContain('Restart the runtime');
  expect(shown('k2')).not.toContain('Restart the runtime');
  expect(shown('k2')).toContain('Stop the runtime');
  expect(shown('k1')).toContain('value="2"');
});

test('cancelling is offered while there is something to cancel, and somebody to tell', () => {
  const counts = { pending: 5, running: 1, done: 2, failed: 0, cancelled: 0 };
  const shown = (more: object): string =>
    renderToStaticMarkup(
      <CancelGroups source={SILENT} live groups={[1]} counts={counts} what="f" {...more} />
    );
  expect(shown({})).toContain('Cancel all unfinished tasks of f');
  expect(shown({ live: false })).toBe('');
  expect(shown({ source: { ...SILENT, controls: false } })).toBe('');
  expect(shown({ counts: { ...counts, pending: 0, running: 0 } })).toBe('');
});

test('a second click on a function puts it away, in the panel and in tabs', () => {
  const one = { kind: 'group', id: 1 } as const;
  const task = { kind: 'task', id: 'a' } as const;
  expect(afterClick(null, one)).toBe(one);
  expect(afterClick(one, { ...one })).toBeNull();
  expect(afterClick(one, { kind: 'group', id: 2 })).toEqual({ kind: 'group', id: 2 });
  expect(afterClick(one, task)).toBe(task);
  expect(afterClick(task, { ...task })).toEqual(task);
  expect(afterClick(task, null)).toBeNull();
});
