/** The button that records: it says what is so, whoever began or ended it, and in whatever order. */
import { renderToStaticMarkup } from 'react-dom/server';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL, type RecordingRow } from '@fanlight/model/state';
import { endedSince, endOf, RecordButton, recordingOf } from '@fanlight/replay/record';

function row(id: string, more: Partial<RecordingRow> = {}): RecordingRow {
  return {
    id,
    runtime_id: 'r1',
    path: `course/${id}.fanlight`,
    started: 100,
    size: 1,
    active: true,
    reason: '',
    failed: false,
    ...more
  };
}

const ENDED = { active: false, reason: 'stopped' };
const FULL = { active: false, reason: 'The recording reached its limit of 100 MB.' };

function shown(rows: readonly RecordingRow[]): string {
  const never = (): Promise<RecordingRow> => new Promise(() => undefined);
  return renderToStaticMarkup(
    <RecordButton
      recorder={{ begin: never, end: never }}
      runtimeId="r1"
      rows={rows}
      time={110}
    />
  );
}

test('the button is what the server says of this runtime', () => {
  const { recordings } = reduce(INITIAL, { type: 'recordings', recordings: [row('a')] });
  expect(shown(recordings)).toContain('Stop recording into course/a.fanlight');
  expect(shown([row('a', { runtime_id: 'r2' })])).toContain('aria-pressed="false"');
  expect(shown([row('a', ENDED)])).toMatch(/title="Record this run[^"]*course\/a.fanlight"/);
  expect(shown([row('a', ENDED)])).not.toContain('<small');
  // One that ended by itself is said, until the next one begins.
  expect(shown([row('a', FULL)])).toMatch(/<small[^>]*>[^<]*its limit of 100 MB/);
  expect(shown([row('a', FULL), row('b')])).not.toContain('<small');
  const failed = { ...FULL, reason: 'The disk is full.', failed: true };
  expect(shown([row('a', failed)])).toMatch(/<small class="fl-bad"[^>]*>The disk is full.</);
});

test('an answer and what is said to all pages may come in any order', () => {
  const active = (rows: RecordingRow[], answer: RecordingRow | null): string | undefined =>
    recordingOf('r1', rows, answer).active?.id;
  expect(active([], row('a'))).toBe('a'); // begun: the answer came first
  expect(active([row('a')], row('a'))).toBe('a');
  expect(active([row('a', FULL)], row('a'))).toBe(undefined); // and it ended at once
  expect(active([row('a')], row('a', ENDED))).toBe(undefined); // ended: the answer came first
  expect(active([row('a', ENDED), row('b')], row('a', ENDED))).toBe('b');
  expect(active([row('a')], null)).toBe('a'); // a refused or lost order changes nothing
  expect(recordingOf('r1', [row('a', ENDED)], row('b', FULL)).last?.id).toBe('b');
});

test('what ended is told once, with its file and why', () => {
  expect(endedSince([], [row('a', ENDED)])).toEqual([]); // before this page was loaded
  expect(endedSince([row('a')], [row('a')])).toEqual([]);
  const [ended] = endedSince([row('a'), row('b', ENDED)], [row('a', FULL), row('b', ENDED)]);
  expect(endOf(ended)).toBe(
    'Recorded into course/a.fanlight. Why it ended: The recording reached its limit of 100 MB.'
  );
  const [lost] = endedSince([row('a')], []); // another server knows nothing of it
  expect(endOf(lost)).toContain('course/a.fanlight. Why it ended: the Jupyter server');
});
