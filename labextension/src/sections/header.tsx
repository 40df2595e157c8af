/** What is followed, whether it is there, and the three numbers that say how it does. */
import type { ReactNode } from 'react';
import { count, percent } from '../format';
import { trans } from '../i18n';
import { storeText, totals } from '../model/selectors';
import type { Data, RuntimeSummary, State } from '../model/state';
import { Meter } from '../views/parts';

export interface HeaderProps {
  state: State;
  focusTitle: string;
  pinned: string;
  onPin: (runtimeId: string) => void;
  /** What can be done with the runtime; nothing while it is not there. */
  controls?: ReactNode;
}

type Light = 'live' | 'busy' | 'off' | 'bad';

/** The state of the connection in one word, and what colour says the same. */
export function connection(state: State): { light: Light; text: string } {
  if (state.link.state === 'connecting') {
    return { light: 'busy', text: trans.__('connecting') };
  }
  if (state.link.state === 'waiting') {
    return { light: 'bad', text: trans.__('server unreachable') };
  }
  switch (state.phase) {
    case 'live':
      return { light: 'live', text: trans.__('live') };
    case 'connecting':
      return { light: 'busy', text: trans.__('connecting') };
    case 'lost':
      return { light: 'bad', text: trans.__('connection lost') };
    case 'ended':
      return { light: 'off', text: trans.__('ended') };
    case 'none':
      return { light: 'off', text: trans.__('no runtime') };
    default:
      return { light: 'busy', text: trans.__('looking') };
  }
}

export function Header(props: HeaderProps) {
  const { state } = props;
  const { light, text } = connection(state);
  const data = state.data;
  return (
    <div className="fl-Header">
      <div className="fl-Header-line">
        <span className={`fl-Light fl-Light-${light}`} role="status">
          <span className="fl-Light-dot" aria-hidden="true" />
          {text}
        </span>
        {data && (
          <span
            className="fl-Chip"
            title={trans.__('%1 · node pid %2', data.runtime.name, data.runtime.pid)}
          >
            {data.runtime.engine}
          </span>
        )}
        <span className="fl-Header-space" />
        <RuntimePicker {...props} />
      </div>
      {data && <Tiles data={data} />}
      {props.controls}
    </div>
  );
}

/** Follow the notebook in front, or stay with one runtime. */
function RuntimePicker({ state, focusTitle, pinned, onPin }: HeaderProps) {
  const own = focusTitle ? trans.__('Follow %1', focusTitle) : trans.__('Follow the notebook');
  const missing = pinned !== '' && !state.runtimes.some(r => r.runtime_id === pinned);
  return (
    <select
      className="fl-Select"
      aria-label={trans.__('Runtime to show')}
      title={trans.__('Which runtime to show')}
      value={pinned}
      onChange={event => onPin(event.target.value)}
    >
      <option value="">{own}</option>
      {state.runtimes.map(r => (
        <option key={r.runtime_id} value={r.runtime_id}>
          {runtimeName(r)}
        </option>
      ))}
      {missing && <option value={pinned}>{trans.__('a runtime that ended')}</option>}
    </select>
  );
}

export function runtimeName(runtime: RuntimeSummary): string {
  return trans.__(
    '%1 · %2 · pid %3',
    runtime.name || trans.__('runtime'),
    runtime.engine,
    runtime.pid
  );
}

function Tiles({ data }: { data: Data }) {
  const t = totals(data);
  const over = t.counts.done + t.counts.failed + t.counts.cancelled;
  const all = over + t.counts.pending + t.counts.running;
  return (
    <dl className="fl-Tiles">
      <div className="fl-Tile" title={trans.__('CPUs that tasks and actors hold')}>
        <dt>{trans.__('CPU')}</dt>
        <dd>
          <strong>{count(t.cpusUsed)}</strong>
          <small>/{count(t.cpus)}</small>
        </dd>
        <dd>
          <Meter
            share={t.cpus ? t.cpusUsed / t.cpus : 0}
            label={trans.__('CPUs in use')}
            text={trans.__('%1 of %2', count(t.cpusUsed), count(t.cpus))}
          />
        </dd>
      </div>
      <div
        className="fl-Tile"
        title={trans.__('%1 of %2 tasks are over', count(over), count(all))}
      >
        <dt>{trans.__('Running')}</dt>
        <dd>
          <strong>{count(t.counts.running)}</strong>
          {t.counts.pending > 0 && (
            <small> {trans.__('%1 waiting', count(t.counts.pending))}</small>
          )}
        </dd>
        <dd>
          <Meter
            share={all ? over / all : 0}
            label={trans.__('Tasks that are over')}
            text={trans.__('%1 of %2', count(over), count(all))}
            tone="done"
          />
        </dd>
      </div>
      <div className="fl-Tile" title={storeText(data)}>
        <dt>{trans.__('Store')}</dt>
        <dd>
          <strong>{t.storeShare === null ? '–' : percent(t.storeShare)}</strong>
        </dd>
        <dd>
          <Meter
            share={t.storeShare ?? 0}
            label={trans.__('Object store in use')}
            text={storeText(data)}
            tone={(t.storeShare ?? 0) > 0.85 ? 'warm' : 'done'}
          />
        </dd>
      </div>
    </dl>
  );
}
