/**
 * The button that records what the runtime does, into a file beside the notebook. What it shows is
 * what the server says on the socket, to all pages; an answer to a press only says it earlier.
 */
import { useEffect, useState } from 'react';
import { trans } from '../i18n';
import type { RecordingRow } from '../model/state';
import { clock } from './activity';

/** The server's reason for an end that somebody asked for. */
export const STOPPED = 'stopped';

export interface Recorder {
  begin(runtimeId: string): Promise<RecordingRow>;
  end(id: string): Promise<RecordingRow>;
}

export interface RecordButtonProps {
  recorder: Recorder;
  runtimeId: string;
  /** What the server has said of recordings. */
  rows: readonly RecordingRow[];
  /** The runtime's time: the button counts with it. */
  time: number;
}

export function RecordButton({ recorder, runtimeId, rows, time }: RecordButtonProps) {
  const [answer, setAnswer] = useState<RecordingRow | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  // Whatever is said next says more than an answer that came before it.
  useEffect(() => setAnswer(null), [rows]);
  const { active, last } = recordingOf(runtimeId, rows, answer);
  const press = (): void => {
    setBusy(true);
    setProblem('');
    (active ? recorder.end(active.id) : recorder.begin(runtimeId))
      .then(setAnswer)
      .catch((error: unknown) =>
        setProblem(error instanceof Error ? error.message : String(error))
      )
      .finally(() => setBusy(false));
  };
  const label = active ? trans.__('Stop recording') : trans.__('Record this run');
  const title = active
    ? trans.__('Stop recording into %1', active.path)
    : trans.__('Record this run into a file beside the notebook, to play it again later');
  // One that ended by itself, while the runtime goes on: nobody may have seen it.
  const early = !active && last !== null && last.reason !== STOPPED;
  return (
    <>
      <button
        type="button"
        className={`fl-Icon fl-Record ${active ? 'fl-Record-on' : ''}`}
        aria-label={label}
        aria-pressed={active !== null}
        title={!active && last ? `${title}\n${endOf(last)}` : title}
        disabled={busy}
        onClick={press}
      >
        <span className="fl-Record-dot" aria-hidden="true" />
        {active && (
          <span className="fl-Record-time">
            {clock(Math.floor(Math.max(0, time - active.started)), 3600)}
          </span>
        )}
      </button>
      {problem !== '' && (
        <small className="fl-bad" role="alert">
          {problem}
        </small>
      )}
      {early && (
        <small className={last.failed ? 'fl-bad' : ''} role="status">
          {endOf(last)}
        </small>
      )}
    </>
  );
}

/**
 * A runtime's recording that goes on, and else the last one, by all that was said: an end is final,
 * so who says that it ended is right, whoever spoke last.
 */
export function recordingOf(
  runtimeId: string,
  rows: readonly RecordingRow[],
  answer: RecordingRow | null
): { active: RecordingRow | null; last: RecordingRow | null } {
  const known = answer !== null && rows.some(r => r.id === answer.id);
  const all =
    answer === null
      ? rows
      : known
        ? rows.map(r => (r.id === answer.id && !answer.active ? answer : r))
        : [...rows, answer];
  const own = all.filter(r => r.runtime_id === runtimeId);
  return { active: own.find(r => r.active) ?? null, last: own[own.length - 1] ?? null };
}

/** Where the file is, and why it ended. */
export function endOf(row: RecordingRow): string {
  if (row.failed) {
    return row.reason; // which names the file
  }
  return row.reason === STOPPED
    ? trans.__('Recorded into %1', row.path)
    : trans.__('Recorded into %1. Why it ended: %2', row.path, row.reason);
}

/** Recordings that went on when `before` was said, and do not now. */
export function endedSince(
  before: readonly RecordingRow[],
  now: readonly RecordingRow[]
): RecordingRow[] {
  return before
    .filter(row => row.active)
    .map(
      row =>
        now.find(r => r.id === row.id) ?? {
          ...row,
          active: false,
          reason: trans.__('the Jupyter server was started anew.')
        }
    )
    .filter(row => !row.active);
}
