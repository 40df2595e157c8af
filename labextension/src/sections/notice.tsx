/** States of the connection that need words: no runtime, lost, ended, server unreachable. */
import { clock } from '../format';
import type { State } from '../model/state';
import { Snippet } from '../views/parts';
import { runtimeName } from './header';

export const START = 'import fanlight\nfanlight.init()';

export interface NoticeProps {
  state: State;
  focusTitle: string;
  onPin: (runtimeId: string) => void;
  onRetry: () => void;
}

export function Notice({ state, focusTitle, onPin, onRetry }: NoticeProps) {
  const last = state.data ? ` This is what it was at ${clock(state.data.time)}.` : '';
  if (state.link.state === 'waiting') {
    return (
      <div className="fl-Notice fl-Notice-bad" role="alert">
        <p>
          {state.link.reason || 'The connection to the Jupyter server was lost.'} Trying again
          in {state.link.seconds.toFixed(0)} s.{last}
        </p>
        <button type="button" className="fl-Button" onClick={onRetry}>
          Try now
        </button>
      </div>
    );
  }
  switch (state.phase) {
    case 'lost':
      return (
        <div className="fl-Notice fl-Notice-bad" role="alert">
          <p>
            {state.reason || 'The runtime does not answer.'} Trying again.{last}
          </p>
        </div>
      );
    case 'ended':
      return (
        <div className="fl-Notice" role="status">
          <p>
            {ending(state.reason)}
            {last} The next runtime of this notebook shows up here by itself.
          </p>
        </div>
      );
    case 'none':
      return <NoRuntime state={state} focusTitle={focusTitle} onPin={onPin} />;
    case 'connecting':
      return state.data ? null : <p className="fl-Empty">Connecting to the runtime…</p>;
    case 'unknown':
      return <p className="fl-Empty">Connecting to the Jupyter server…</p>;
    default:
      return null;
  }
}

function NoRuntime({ state, focusTitle, onPin }: Omit<NoticeProps, 'onRetry'>) {
  return (
    <div className="fl-Start">
      <Arch />
      <h2>{focusTitle ? 'No runtime here yet' : 'No notebook is open'}</h2>
      <p>
        {focusTitle ? (
          <>
            <b>{focusTitle}</b> has not started Fanlight. Run this in a cell, or simply call a
            remote function:
          </>
        ) : (
          <>Open a notebook and run this in a cell:</>
        )}
      </p>
      <Snippet code={START} />
      {state.runtimes.length > 0 && (
        <>
          <p>Running elsewhere on this machine:</p>
          <ul className="fl-Start-list">
            {state.runtimes.map(runtime => (
              <li key={runtime.runtime_id}>
                <span>{runtimeName(runtime)}</span>
                <button
                  type="button"
                  className="fl-Button"
                  onClick={() => onPin(runtime.runtime_id)}
                >
                  Watch
                </button>
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

/** The emblem, large and quiet. */
function Arch() {
  const panes = [0, 1, 2, 3, 4].map(i => {
    const at = (angle: number, radius: number): string =>
      `${(60 - Math.cos(angle) * radius).toFixed(2)} ${(58 - Math.sin(angle) * radius).toFixed(2)}`;
    const from = (Math.PI / 5) * i + 0.035;
    const to = (Math.PI / 5) * (i + 1) - 0.035;
    return (
      <path
        key={i}
        className={`fl-Arch-pane fl-Arch-pane-${i}`}
        d={`M${at(from, 20)}L${at(from, 54)}A54 54 0 0 1 ${at(to, 54)}L${at(to, 20)}A20 20 0 0 0 ${at(from, 20)}Z`}
      />
    );
  });
  return (
    <svg className="fl-Arch" viewBox="0 0 120 64" aria-hidden="true">
      {panes}
      <path className="fl-Arch-hub" d="M43.500 58A16.500 16.500 0 0 1 76.500 58Z" />
      <path className="fl-Arch-sill" d="M4 61.500H116" />
    </svg>
  );
}

/** "shutdown" → "The runtime has ended: shutdown."; whole sentences stay as they are. */
function ending(reason: string): string {
  const text = reason.trim().replace(/\.$/, '');
  if (!text) {
    return 'The runtime has ended.';
  }
  return text.startsWith('The ') ? `${text}.` : `The runtime has ended: ${text}.`;
}
