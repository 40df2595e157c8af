/** What is said when there is not simply a runtime at work, with the clicks that help. */
import { useEffect, useState } from 'react';
import { trans } from '../i18n';
import { condition, type Condition, type Step } from '../model/condition';
import type { RuntimeSummary, State } from '../model/state';
import { Snippet } from '../views/parts';
import { runtimeName } from './header';

export interface NoticeProps {
  state: State;
  focusTitle: string;
  pinned?: string;
  onPin: (runtimeId: string) => void;
  onRetry: () => void;
  /** Starts a runtime in the notebook in front; null where nothing can be started. */
  onStart?: (() => Promise<void>) | null;
  /** Adds a cell with this code to the notebook in front; null where there is none. */
  onAddCell?: ((code: string) => void) | null;
}

export function Notice(props: NoticeProps) {
  const { state, focusTitle, pinned = '', onStart = null } = props;
  const said = condition(state, { title: focusTitle, pinned, canStart: onStart !== null });
  if (said === null) {
    return null;
  }
  const role = said.tone === 'bad' ? 'alert' : 'status';
  const code = said.code !== '' && (
    <Snippet
      code={said.code}
      onAdd={said.where === 'cell' && focusTitle !== '' ? props.onAddCell : null}
    />
  );
  // Anew for another condition, so that what a click said of the last one goes.
  const buttons = <Buttons key={said.title} steps={said.steps} {...props} />;
  if (said.form === 'page') {
    return (
      <div className={`fl-Start fl-Start-${said.tone}`}>
        <Arch />
        <div role={role}>
          <h2>{said.title}</h2>
          {said.text !== '' && <p>{said.text}</p>}
        </div>
        {buttons}
        {code}
        {said.steps.includes('choose') && (
          <Elsewhere runtimes={state.runtimes} onPin={props.onPin} />
        )}
      </div>
    );
  }
  return (
    <div className={`fl-Notice fl-Notice-${said.tone}`}>
      <p role={role}>{said.text}</p>
      {buttons}
      {code}
    </div>
  );
}

const LABEL: Record<Exclude<Step, 'choose'>, () => string> = {
  start: () => trans.__('Start Fanlight'),
  follow: () => trans.__('Follow the notebook'),
  retry: () => trans.__('Try now'),
  reload: () => trans.__('Reload the page')
};

function Buttons(props: NoticeProps & { steps: Condition['steps'] }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  const { link, phase } = props.state;
  useEffect(() => {
    setBusy(false);
    setProblem('');
  }, [link.state, phase]);
  const act: Record<Exclude<Step, 'choose'>, () => void> = {
    start: () => {
      setBusy(true);
      setProblem('');
      props
        .onStart?.()
        .catch((error: unknown) =>
          setProblem(error instanceof Error ? error.message : String(error))
        )
        .finally(() => setBusy(false));
    },
    follow: () => props.onPin(''),
    retry: props.onRetry,
    reload: () => window.location.reload()
  };
  const steps = props.steps.filter(step => step !== 'choose');
  if (steps.length === 0) {
    return null;
  }
  return (
    <div className="fl-Steps">
      {steps.map((step, index) => (
        <button
          key={step}
          type="button"
          className={`fl-Button ${index === 0 ? 'fl-Button-first' : ''}`}
          disabled={busy}
          onClick={act[step]}
        >
          {busy && step === 'start' ? trans.__('Starting…') : LABEL[step]()}
        </button>
      ))}
      {problem !== '' && (
        <p className="fl-Hint fl-bad" role="alert">
          {problem}
        </p>
      )}
    </div>
  );
}

function Elsewhere(props: {
  runtimes: readonly RuntimeSummary[];
  onPin: (runtimeId: string) => void;
}) {
  return (
    <>
      <p>{trans.__('Running elsewhere on this machine:')}</p>
      <ul className="fl-Start-list">
        {props.runtimes.map(runtime => (
          <li key={runtime.runtime_id}>
            <span>{runtimeName(runtime)}</span>
            <button
              type="button"
              className="fl-Button"
              aria-label={trans.__('Watch %1', runtimeName(runtime))}
              onClick={() => props.onPin(runtime.runtime_id)}
            >
              {trans.__('Watch')}
            </button>
          </li>
        ))}
      </ul>
    </>
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
