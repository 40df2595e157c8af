/** The button that records what the runtime does, into a file beside the notebook. */
import { useCallback, useEffect, useState } from 'react';
import { trans } from '../i18n';
import { clock } from './activity';

/** A recording as the server tells it. */
export interface RecordingRow {
  id: string;
  runtime_id: string;
  /** On the server. */
  path: string;
  started: number;
  size: number;
  active: boolean;
  /** Why it ended. */
  reason: string;
  failed: boolean;
}

export interface Recorder {
  begin(runtimeId: string): Promise<RecordingRow>;
  end(id: string): Promise<RecordingRow>;
  list(): Promise<RecordingRow[]>;
  /** Says that a file is there, and offers to open it. */
  made(row: RecordingRow): void;
}

export interface RecordButtonProps {
  recorder: Recorder;
  runtimeId: string;
  /** The runtime's time: the button counts with it. */
  time: number;
}

export function RecordButton({ recorder, runtimeId, time }: RecordButtonProps) {
  const [row, setRow] = useState<RecordingRow | null>(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  // One that was begun before this was drawn, here or in another window.
  useEffect(() => {
    let gone = false;
    setRow(null);
    recorder
      .list()
      .then(rows => {
        if (!gone) {
          setRow(rows.find(r => r.active && r.runtime_id === runtimeId) ?? null);
        }
      })
      .catch(() => undefined); // it may not be allowed: the button says so when it is pressed
    return () => {
      gone = true;
    };
  }, [recorder, runtimeId]);
  const press = useCallback((): void => {
    setBusy(true);
    setProblem('');
    const work = row
      ? recorder.end(row.id).then(ended => {
          setRow(null);
          if (ended.failed) {
            setProblem(ended.reason);
          }
          recorder.made(ended);
        })
      : recorder.begin(runtimeId).then(setRow);
    work
      .catch((error: unknown) => {
        setRow(null);
        setProblem(error instanceof Error ? error.message : String(error));
      })
      .finally(() => setBusy(false));
  }, [recorder, row, runtimeId]);
  const label = row ? trans.__('Stop recording') : trans.__('Record this run');
  const title = row
    ? trans.__('Stop recording into %1', row.path)
    : trans.__('Record this run into a file beside the notebook, to play it again later');
  return (
    <>
      <button
        type="button"
        className={`fl-Icon fl-Record ${row ? 'fl-Record-on' : ''}`}
        aria-label={label}
        aria-pressed={row !== null}
        title={title}
        disabled={busy}
        onClick={press}
      >
        <span className="fl-Record-dot" aria-hidden="true" />
        {row && (
          <span className="fl-Record-time">
            {clock(Math.floor(Math.max(0, time - row.started)), 3600)}
          </span>
        )}
      </button>
      {problem !== '' && (
        <small className="fl-bad" role="alert">
          {problem}
        </small>
      )}
    </>
  );
}
