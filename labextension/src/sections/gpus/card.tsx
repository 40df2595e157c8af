/** One device: how busy, how full, how hot, and who uses it. */
import type { GpuView } from '../../events';
import { bytes } from '../../format';
import { trans } from '../../i18n';
import { lineOf } from '../../model/series';
import { Meter } from '../../views/parts';
import type { Selection } from '../../views/section';
import { heldText, modelName, shortName, type Board, type User } from './model';

export interface CardProps {
  board: Board;
  usersOf: (gpu: GpuView) => readonly User[];
  onSelect: (selection: Selection) => void;
  onHover: (key: string | null) => void;
}

export function Card({ board, usersOf, onSelect, onHover }: CardProps) {
  const first = board.devices[0].gpu;
  return (
    <li className="fl-Gpu" data-gpu={board.key}>
      {board.mig && (
        <div className="fl-Gpu-head">
          <b>{trans.__('GPU %1', first.index)}</b>
          <span className="fl-Gpu-name">{modelName(first)}</span>
          <span className="fl-Chip">
            {trans._n('%1 MIG slice', '%1 MIG slices', board.devices.length)}
          </span>
        </div>
      )}
      {board.mig && <Facts gpu={first} whole />}
      {board.devices.map(({ gpu, key, place }) => (
        <div
          key={key}
          className={`fl-Gpu-device ${gpu.number < 0 ? 'fl-Gpu-other' : ''}`}
          data-error={gpu.error !== ''}
          onPointerEnter={() => onHover(key)}
          onPointerLeave={() => onHover(null)}
        >
          <div className="fl-Gpu-head">
            <i
              className={`fl-Key fl-Key-${lineOf(place).dash.length ? 'dashed' : 'line'}`}
              style={{ '--fl-key': `var(${lineOf(place).tone})` } as React.CSSProperties}
              aria-hidden="true"
            />
            <b title={gpu.uuid}>{board.mig ? gpu.mig : shortName(gpu, place, false)}</b>
            <span className="fl-Gpu-name" title={gpu.name}>
              {board.mig ? gpu.uuid.slice(0, 12) : modelName(gpu)}
            </span>
            {gpu.error === '' && <span className="fl-Chip">{heldText(gpu)}</span>}
          </div>
          {gpu.error !== '' ? (
            <p className="fl-Hint fl-bad">{gpu.error}</p>
          ) : (
            <>
              <Figures gpu={gpu} />
              {!board.mig && <Facts gpu={gpu} />}
              <Users users={usersOf(gpu)} onSelect={onSelect} />
            </>
          )}
        </div>
      ))}
    </li>
  );
}

function Figures({ gpu }: { gpu: GpuView }) {
  const { utilization_percent: busy, memory_used: used, memory_total: total } = gpu;
  return (
    <>
      {(busy !== null || gpu.mig === '') && (
        <Gauge
          name={trans.__('Compute')}
          share={busy === null ? null : busy / 100}
          text={busy === null ? '' : trans.__('%1 %', busy.toFixed(0))}
          missing={trans.__('This device does not report it.')}
        />
      )}
      <Gauge
        name={trans.__('Memory')}
        share={used === null || !total ? null : used / total}
        text={used === null || !total ? '' : trans.__('%1 of %2', bytes(used), bytes(total))}
        missing={trans.__('This device does not report it.')}
        full
      />
    </>
  );
}

function Gauge(props: {
  name: string;
  share: number | null;
  text: string;
  missing: string;
  /** Being almost full is worth a warning. */
  full?: boolean;
}) {
  const { share } = props;
  return (
    <div className="fl-Gauge">
      <span>{props.name}</span>
      {share === null ? (
        <small className="fl-Gauge-missing" title={props.missing}>
          {trans.__('not reported')}
        </small>
      ) : (
        <>
          <Meter
            share={share}
            label={props.name}
            text={props.text}
            tone={props.full && share > 0.9 ? 'warm' : 'running'}
          />
          <small>{props.text}</small>
        </>
      )}
    </div>
  );
}

/** `whole`: of a GPU whose slices do not tell how busy they are. */
function Facts({ gpu, whole }: { gpu: GpuView; whole?: boolean }) {
  if (gpu.temperature === null && gpu.power === null && !whole) {
    return null;
  }
  return (
    <p className="fl-Gpu-facts">
      {gpu.temperature !== null && <span>{trans.__('%1 °C', gpu.temperature.toFixed(0))}</span>}
      {gpu.power !== null && (
        <span>
          {gpu.power_limit === null
            ? trans.__('%1 W', gpu.power.toFixed(0))
            : trans.__('%1 of %2 W', gpu.power.toFixed(0), gpu.power_limit.toFixed(0))}
        </span>
      )}
      {whole && gpu.utilization_percent === null && (
        <span>{trans.__('slices do not report how busy they are')}</span>
      )}
    </p>
  );
}

const SHOWN = 8;

function Users(props: { users: readonly User[]; onSelect: (selection: Selection) => void }) {
  const { users, onSelect } = props;
  if (users.length === 0) {
    return null;
  }
  return (
    <ul className="fl-Gpu-users" aria-label={trans.__('Processes on this device')}>
      {users.slice(0, SHOWN).map(user => {
        const target: Selection | null = user.task
          ? { kind: 'task', id: user.task }
          : user.worker
            ? { kind: 'worker', id: user.worker }
            : null;
        return (
          <li key={user.key}>
            {target ? (
              <button
                type="button"
                className="fl-Link"
                title={user.text}
                onClick={() => onSelect(target)}
              >
                {user.text}
              </button>
            ) : (
              <span title={user.text}>{user.text}</span>
            )}
            <small>{trans.__('pid %1', user.pid)}</small>
            <small className="fl-Gpu-memory">
              {user.unused
                ? trans.__('not used yet')
                : user.memory === null
                  ? '–'
                  : bytes(user.memory)}
            </small>
          </li>
        );
      })}
      {users.length > SHOWN && (
        <li>
          <small>
            {trans._n('and %1 more process', 'and %1 more processes', users.length - SHOWN)}
          </small>
        </li>
      )}
    </ul>
  );
}
