/** The player's bar: play, step, speed, and a track to drag along, over what happened when. */
import { useEffect, useState, useSyncExternalStore, type KeyboardEvent } from 'react';
import { clock as timeOfDay } from '../format';
import { trans } from '../i18n';
import { activity, area, clock, type Activity } from './activity';
import { SPEEDS, type Player } from './player';
import type { ReplaySource } from './source';

const BINS = 240;

export interface PlayerBarProps {
  source: ReplaySource;
  /** What the recording is called. */
  title: string;
  onExport?: () => void;
}

export function PlayerBar({ source, title, onExport }: PlayerBarProps) {
  const { player } = source;
  const state = useSyncExternalStore(player.subscribe, player.get);
  const shown = useActivity(source);
  const whole = player.end - player.start;
  const at = state.at - player.start;
  const date = new Date(state.at * 1000);
  const note = damage(source);
  const keys = (event: KeyboardEvent): void => {
    if (act(player, event.key)) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <div
      className="fl-Player"
      role="group"
      aria-label={trans.__('Player of the recording')}
      onKeyDown={keys}
      data-at={at.toFixed(3)}
      data-playing={state.playing}
    >
      <div className="fl-Player-line">
        <div className="fl-Player-buttons">
          <Button
            icon="M9.5 3.5 L4.5 8 L9.5 12.5 Z M11 3.5 h1.6 v9 h-1.6 Z"
            label={trans.__('One step back (,)')}
            disabled={at <= 0}
            onClick={() => void player.step(false)}
          />
          <Button
            icon={
              state.playing
                ? 'M4.5 3 h2.6 v10 h-2.6 Z M8.9 3 h2.6 v10 h-2.6 Z'
                : 'M4.5 2.8 L13 8 L4.5 13.2 Z'
            }
            label={state.playing ? trans.__('Pause (space)') : trans.__('Play (space)')}
            strong
            onClick={() => player.toggle()}
          />
          <Button
            icon="M6.5 3.5 L11.5 8 L6.5 12.5 Z M3.4 3.5 h1.6 v9 h-1.6 Z"
            label={trans.__('One step on (.)')}
            disabled={at >= whole}
            onClick={() => void player.step(true)}
          />
        </div>
        <span className="fl-Player-time">
          <strong>{clock(at, whole)}</strong>
          <span> / {clock(whole, whole)}</span>
        </span>
        <span
          className="fl-Player-title"
          title={trans.__('%1, recorded %2', title, date.toLocaleString())}
        >
          {title}
          <small>{timeOfDay(state.at)}</small>
        </span>
        {shown !== null && shown.failures.length > 0 && (
          <button
            type="button"
            className="fl-Button fl-Player-failure"
            onClick={() => player.seek(nextOf(shown.failures, state.at) ?? shown.failures[0])}
          >
            {trans._n('%1 failure', '%1 failures', shown.failures.length)}
            <span aria-hidden="true"> ›</span>
          </button>
        )}
        {onExport && (
          <button
            type="button"
            className="fl-Button fl-Player-export"
            title={trans.__('Write one HTML file that plays this in any browser')}
            onClick={onExport}
          >
            {trans.__('Export as a page')}
          </button>
        )}
        <select
          className="fl-Select fl-Player-speed"
          aria-label={trans.__('Speed')}
          value={state.speed}
          onChange={event => player.setSpeed(Number(event.target.value))}
        >
          {SPEEDS.map(speed => (
            <option key={speed} value={speed}>
              {`${speed}×`}
            </option>
          ))}
        </select>
      </div>
      <div className="fl-Player-track">
        {shown && <Track shown={shown} start={player.start} whole={whole} at={at} />}
        <input
          type="range"
          min={0}
          max={whole}
          step="any"
          value={at}
          aria-label={trans.__('Moment')}
          aria-valuetext={trans.__('%1 of %2', clock(at, whole), clock(whole, whole))}
          onChange={event => player.seek(player.start + Number(event.target.value))}
        />
      </div>
      {(state.problem || note) && (
        <p className="fl-Player-note" role="status">
          {state.problem || note}
        </p>
      )}
    </div>
  );
}

/** What the track is drawn over: how much ran, and where tasks failed. */
function Track(props: { shown: Activity; start: number; whole: number; at: number }) {
  const { shown, start, whole, at } = props;
  const share = (time: number): string =>
    `${((time / Math.max(whole, 1e-9)) * 100).toFixed(2)}%`;
  return (
    <>
      <svg
        className="fl-Player-area"
        viewBox={`0 0 ${BINS} 1`}
        preserveAspectRatio="none"
        aria-hidden="true"
      >
        <path d={area(shown)} />
      </svg>
      <div className="fl-Player-past" style={{ width: share(at) }} aria-hidden="true" />
      {shown.failures.map((time, n) => (
        <i
          key={n}
          className="fl-Player-mark"
          style={{ left: share(time - start) }}
          aria-hidden="true"
        />
      ))}
    </>
  );
}

interface ButtonProps {
  icon: string;
  label: string;
  disabled?: boolean;
  strong?: boolean;
  onClick: () => void;
}

function Button({ icon, label, disabled, strong, onClick }: ButtonProps) {
  return (
    <button
      type="button"
      className={`fl-Player-button ${strong ? 'fl-Player-button-strong' : ''}`}
      title={label}
      aria-label={label}
      disabled={disabled}
      onClick={onClick}
    >
      <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
        <path d={icon} />
      </svg>
    </button>
  );
}

function useActivity(source: ReplaySource): Activity | null {
  const [shown, setShown] = useState<Activity | null>(null);
  useEffect(() => {
    let gone = false;
    const { start, end } = source.player;
    void source.answers.spans().then(spans => {
      if (!gone) {
        setShown(activity(spans, source.file.parts, start, end, BINS));
      }
    });
    return () => {
      gone = true;
    };
  }, [source]);
  return shown;
}

function nextOf(times: readonly number[], after: number): number | undefined {
  return times.find(time => time > after + 1e-6);
}

/** Keys work wherever the focus is in the bar, but for those that its own elements use. */
function act(player: Player, key: string): boolean {
  switch (key) {
    case ' ':
    case 'k':
      player.toggle();
      return true;
    case ',':
      void player.step(false);
      return true;
    case '.':
      void player.step(true);
      return true;
    case 'Home':
      player.seek(player.start);
      return true;
    case 'End':
      player.seek(player.end);
      return true;
    case 'ArrowLeft':
    case 'ArrowRight': {
      const step = Math.max((player.end - player.start) / 100, 0.1);
      player.seek(player.get().at + (key === 'ArrowLeft' ? -step : step));
      return true;
    }
    default:
      return false;
  }
}

/** What is not as it should be with the file; "" if nothing. */
function damage({ file }: ReplaySource): string {
  if (file.lost > 0) {
    return trans.__('The end of this file is damaged or missing; it is shown up to there.');
  }
  return file.whole
    ? ''
    : trans.__('The recorder was killed: what happened in its last seconds is missing.');
}
