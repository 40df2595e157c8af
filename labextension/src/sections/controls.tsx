/** What can be done with the runtime as a whole: more or fewer CPUs, another one, none. */
import { useEffect, useState, type KeyboardEvent } from 'react';
import { bytes } from '../format';
import { trans } from '../i18n';
import { totals } from '../model/selectors';
import type { Data, RecordingRow } from '../model/state';
import { RecordButton } from '../replay/record';
import { ConfirmButton } from '../views/confirm';
import type { PanelModel } from '../views/model';

const MOST_CPUS = 10_000;

export interface ControlsProps {
  model: PanelModel;
  data: Data;
  recordings: readonly RecordingRow[];
  /** The kernel of the notebook in front, "" without one. */
  focusKernel: string;
}

export function Controls({ model, data, recordings, focusKernel }: ControlsProps) {
  const [doing, setDoing] = useState('');
  const [problem, setProblem] = useState('');
  const { source, restartHere } = model;
  // A runtime of another notebook is ended there, or here on purpose; only its own kernel can start
  // it again.
  const own =
    focusKernel !== '' && data.runtime.drivers.some(driver => driver.kernel_id === focusKernel);
  const act = (what: string, work: () => Promise<unknown>): void => {
    setDoing(what);
    setProblem('');
    work()
      .catch((error: unknown) =>
        setProblem(error instanceof Error ? error.message : String(error))
      )
      .finally(() => setDoing(''));
  };
  const lost = losses(data);
  return (
    <div className="fl-Controls" role="toolbar" aria-label={trans.__('The runtime')}>
      <Cpus
        total={data.runtime.total.CPU ?? 0}
        onScale={cpus => act('', () => source.command({ action: 'scale', cpus }))}
      />
      {model.recorder && (
        <RecordButton
          key={data.runtime.id}
          recorder={model.recorder}
          runtimeId={data.runtime.id}
          rows={recordings}
          time={data.time}
        />
      )}
      {own && restartHere && (
        <ConfirmButton
          label={trans.__('Restart the runtime')}
          className="fl-Icon"
          disabled={doing !== ''}
          loses={lost}
          question={trans.__('Restart the runtime?')}
          action={trans.__('Restart')}
          onConfirm={() =>
            act(trans.__('Restarting…'), async () => {
              await source.command({ action: 'shutdown' });
              await restartHere();
            })
          }
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M12.700 5.100A5.500 5.500 0 1 0 13.500 8" />
            <path d="M13.300 1.700v3.600h-3.600" />
          </svg>
        </ConfirmButton>
      )}
      <ConfirmButton
        label={trans.__('Stop the runtime')}
        className="fl-Icon"
        disabled={doing !== ''}
        loses={lost}
        question={trans.__('Stop the runtime?')}
        action={trans.__('Stop')}
        onConfirm={() =>
          act(trans.__('Stopping…'), () => source.command({ action: 'shutdown' }))
        }
      >
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <rect className="fl-solid" x="3.500" y="3.500" width="9" height="9" rx="1.500" />
        </svg>
      </ConfirmButton>
      {doing !== '' && <small role="status">{doing}</small>}
      {problem !== '' && (
        <small className="fl-bad" role="alert">
          {problem}
        </small>
      )}
    </div>
  );
}

/** How many CPUs there are to schedule on: a number to type, or to step. */
function Cpus({ total, onScale }: { total: number; onScale: (cpus: number) => void }) {
  const [typed, setTyped] = useState<string | null>(null);
  useEffect(() => setTyped(null), [total]);
  const scale = (cpus: number): void => {
    if (Number.isFinite(cpus) && cpus >= 1 && cpus <= MOST_CPUS && cpus !== total) {
      onScale(cpus);
    } else {
      setTyped(null);
    }
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === 'Enter') {
      scale(Number(typed ?? total));
    } else if (event.key === 'Escape') {
      setTyped(null);
    } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      event.preventDefault();
      const next = Math.floor(Number(typed ?? total)) + (event.key === 'ArrowUp' ? 1 : -1);
      setTyped(String(Math.max(1, next)));
    }
  };
  return (
    <span className="fl-Stepper" role="group" aria-label={trans.__('CPUs to schedule on')}>
      <button
        type="button"
        className="fl-Icon"
        aria-label={trans.__('One CPU less')}
        title={trans.__('One CPU less')}
        disabled={total <= 1}
        onClick={() => scale(Math.max(1, Math.ceil(total) - 1))}
      >
        −
      </button>
      <input
        aria-label={trans.__('CPUs to schedule on')}
        title={trans.__('CPUs to schedule on, and as many workers')}
        inputMode="numeric"
        size={3}
        value={typed ?? String(total)}
        onChange={event => setTyped(event.target.value)}
        onFocus={event => event.target.select()}
        onBlur={() => typed !== null && scale(Number(typed))}
        onKeyDown={onKey}
      />
      <span aria-hidden="true">CPU</span>
      <button
        type="button"
        className="fl-Icon"
        aria-label={trans.__('One CPU more')}
        title={trans.__('One CPU more')}
        onClick={() => scale(Math.floor(total) + 1)}
      >
        +
      </button>
    </span>
  );
}

/** What ends with the runtime, as a sentence; "" when nothing does. */
export function losses(data: Data): string {
  const { running, pending } = totals(data).counts;
  const actors = [...data.actors.values()].filter(a => a.state !== 'DEAD').length;
  const store = data.store[data.store.length - 1];
  const held = store ? store.used + store.inline + store.spilled : 0;
  const parts = [];
  if (running > 0) {
    parts.push(trans._n('%1 running task', '%1 running tasks', running));
  }
  if (pending > 0) {
    parts.push(trans._n('%1 waiting task', '%1 waiting tasks', pending));
  }
  if (actors > 0) {
    parts.push(trans._n('%1 actor', '%1 actors', actors));
  }
  if (store && store.objects > 0) {
    parts.push(trans._n('%1 object (%2)', '%1 objects (%2)', store.objects, bytes(held)));
  }
  return parts.length > 0 ? trans.__('Lost with it: %1.', parts.join(', ')) : '';
}
