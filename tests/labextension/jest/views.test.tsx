/** The sections as text: what people read in each state, and that events never become markup. */
import { renderToStaticMarkup } from 'react-dom/server';
import type { ReactElement } from 'react';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL, type State } from '@fanlight/model/state';
import { Header, connection } from '@fanlight/sections/header';
import { Notice } from '@fanlight/sections/notice';
import { stripAnsi } from '@fanlight/views/parts';
import { group, snapshot } from './samples';

const nothing = (): void => undefined;

function text(element: ReactElement): string {
  return renderToStaticMarkup(element);
}

function notice(state: Partial<State>, title = 'a.ipynb'): string {
  return text(
    <Notice
      state={{ ...INITIAL, ...state }}
      focusTitle={title}
      onPin={nothing}
      onRetry={nothing}
    />
  );
}

test('no runtime: says how to start one, and offers those that run', () => {
  const runtimes = [
    { runtime_id: 'r', name: 'other', engine: 'local', pid: 7, kernel_ids: [], created: 1 }
  ];
  const shown = notice({ phase: 'none', runtimes });
  expect(shown).toContain('fanlight.init()');
  expect(shown).toContain('a.ipynb');
  expect(shown).toContain('other · local · pid 7');
  expect(notice({ phase: 'none' }, '')).toContain('No notebook is open');
});

test('lost, ended and unreachable each say so', () => {
  const data = reduce(INITIAL, snapshot()).data;
  expect(notice({ phase: 'lost', data })).toContain('Trying again');
  expect(notice({ phase: 'ended', data, reason: 'the kernel has gone' })).toContain(
    'The runtime has ended: the kernel has gone.'
  );
  const link = {
    state: 'waiting',
    seconds: 4,
    reason: 'The Jupyter server does not answer.'
  } as const;
  expect(notice({ link })).toContain('Try now');
  const busy = reduce(INITIAL, snapshot({ groups: [group(1, { RUNNING: 1 })] })).data;
  expect(notice({ phase: 'live', data: busy })).toBe('');
});

test('the light and its word agree', () => {
  expect(connection(INITIAL)).toEqual({ light: 'busy', text: 'looking' });
  expect(connection({ ...INITIAL, phase: 'live' })).toEqual({ light: 'live', text: 'live' });
  expect(connection({ ...INITIAL, phase: 'lost' }).light).toBe('bad');
});

test('the header counts', () => {
  const state = reduce(
    INITIAL,
    snapshot({ groups: [group(1, { RUNNING: 2, PENDING_ARGS: 12 })] })
  );
  const shown = text(<Header state={state} focusTitle="a.ipynb" pinned="" onPin={nothing} />);
  expect(shown).toContain('<strong>2</strong><small>/2</small>');
  expect(shown).toContain('12 waiting');
  expect(shown).toContain('Follow a.ipynb');
});

test('colours of a terminal are left out of tracebacks', () => {
  expect(stripAnsi('\u001b[0;31mValueError\u001b[0m: x')).toBe('ValueError: x');
});
