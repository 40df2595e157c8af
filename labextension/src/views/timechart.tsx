/** A chart over time with its legend, its spans, and a moment that pointer or keys choose. */
import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent } from 'react';
import { clock } from '../format';
import { trans } from '../i18n';
import type { ChartModule, TimeChart as Chart, TimeChartOptions } from '../model/charts';
import { nearest, type Picture } from '../model/series';

/** Seconds of the data between two drawings: events may come more often than anyone can see. */
const PACE = 0.2;

export interface TimeChartProps extends TimeChartOptions {
  load: () => Promise<ChartModule>;
  /** Changes when the theme does. */
  theme: string;
  /** Changes when everything is to be drawn anew: another span, metric or runtime. */
  mode: string;
  picture: Picture;
  /** What it shows, for screen readers. */
  label: string;
  /** All values of a moment, for screen readers. */
  describe: (time: number) => string;
  cursor: number | null;
  onCursor: (time: number | null) => void;
  emphasis?: string | null;
}

/** BokehJS is large: it is loaded when a chart is first on view. */
export function TimeChart(props: TimeChartProps) {
  const { load, theme, mode, picture, cursor, onCursor, height, ticks, left, write } = props;
  const host = useRef<HTMLDivElement>(null);
  const [chart, setChart] = useState<Chart | null>(null);
  const [problem, setProblem] = useState('');
  const drawn = useRef({ end: -Infinity, mode: '', chart: null as Chart | null });
  useEffect(() => {
    let made: Chart | null = null;
    let gone = false;
    load()
      .then(({ createTimeChart }) => {
        if (!gone && host.current) {
          made = createTimeChart(host.current, { height, ticks, left, write });
          setChart(made);
        }
      })
      .catch(error => !gone && setProblem(String(error)));
    return () => {
      gone = true;
      made?.dispose();
      setChart(null);
    };
  }, [load, height, ticks, left, write]);
  useEffect(() => {
    const last = drawn.current;
    const news = last.chart !== chart || last.mode !== mode;
    if (chart && (news || picture.end < last.end || picture.end >= last.end + PACE)) {
      chart.draw(picture);
      drawn.current = { end: picture.end, mode, chart };
    }
  }, [chart, picture, mode]);
  useEffect(() => chart?.cursor(cursor), [chart, cursor]);
  useEffect(() => chart?.emphasise(props.emphasis ?? null), [chart, props.emphasis]);
  useEffect(() => chart?.colour(), [chart, theme]);

  const times = longest(picture);
  const at = cursor === null ? times.length - 1 : nearest(times, cursor);
  const onKey = (event: KeyboardEvent): void => {
    const to = target(event.key, at, times.length);
    if (event.key === 'Escape' && cursor !== null) {
      event.stopPropagation(); // it closes details otherwise
      onCursor(null);
    } else if (to !== null && times.length > 0) {
      event.preventDefault();
      onCursor(times[to]);
    }
  };
  const onMove = (event: PointerEvent): void => {
    const box = host.current?.getBoundingClientRect();
    const time = box ? (chart?.timeAt(event.clientX - box.left) ?? null) : null;
    const i = time === null ? -1 : nearest(times, time);
    onCursor(i < 0 ? null : times[i]);
  };
  const moment = at >= 0 ? times[at] : null;
  return (
    <div
      className="fl-Chart"
      style={{ minHeight: height }}
      role="slider"
      tabIndex={0}
      aria-label={props.label}
      aria-orientation="horizontal"
      aria-valuemin={0}
      aria-valuemax={Math.max(0, times.length - 1)}
      aria-valuenow={Math.max(0, at)}
      aria-valuetext={
        moment === null
          ? trans.__('nothing yet')
          : trans.__('%1: %2', clock(moment), props.describe(moment))
      }
      onKeyDown={onKey}
      onBlur={() => onCursor(null)}
      onPointerMove={onMove}
      onPointerLeave={() => onCursor(null)}
    >
      <div ref={host} className="fl-Chart-host" data-ready={chart !== null} />
      {problem && (
        <p className="fl-Hint">{trans.__('The chart could not be loaded: %1', problem)}</p>
      )}
    </div>
  );
}

/** The times that the keys go through: those of the series that has most. */
function longest(picture: Picture): readonly number[] {
  return picture.series.reduce<readonly number[]>(
    (most, s) => (s.time.length > most.length ? s.time : most),
    []
  );
}

/** Where a key leads from the place `at` among `n`; null where it leads nowhere. */
export function target(key: string, at: number, n: number): number | null {
  const step = Math.max(1, Math.round(n / 20));
  const to: Record<string, number> = {
    ArrowLeft: at - 1,
    ArrowRight: at + 1,
    ArrowDown: at - 1,
    ArrowUp: at + 1,
    PageDown: at - step,
    PageUp: at + step,
    Home: 0,
    End: n - 1
  };
  return key in to ? Math.max(0, Math.min(n - 1, to[key])) : null;
}

export interface LegendItem {
  id: string;
  label: string;
  value: string;
  /** The style sheet's variable of its colour; "" has no line. */
  tone: string;
  mark?: 'area' | 'hatch' | 'line' | 'dashed';
  hint?: string;
}

/** Names, colours and values: of now, or of the moment that is pointed at. */
export function Legend({ items, time }: { items: readonly LegendItem[]; time: number | null }) {
  return (
    <div className="fl-MeterLegend">
      <dl>
        {items.map(item => (
          <div key={item.id} title={item.hint}>
            <dt>
              {item.tone !== '' && (
                <i
                  className={`fl-Key fl-Key-${item.mark ?? 'area'}`}
                  style={{ '--fl-key': `var(${item.tone})` } as React.CSSProperties}
                  aria-hidden="true"
                />
              )}
              {item.label}
            </dt>
            <dd>{item.value}</dd>
          </div>
        ))}
      </dl>
      {time !== null && <small className="fl-MeterLegend-time">{clock(time)}</small>}
    </div>
  );
}

/** A few things of which one is chosen. */
export function Choice<T extends string | number>(props: {
  label: string;
  options: readonly { value: T; text: string }[];
  chosen: T;
  onChoose: (value: T) => void;
}) {
  return (
    <div className="fl-Choice" role="group" aria-label={props.label}>
      {props.options.map(option => (
        <button
          key={String(option.value)}
          type="button"
          aria-pressed={option.value === props.chosen}
          onClick={() => props.onChoose(option.value)}
        >
          {option.text}
        </button>
      ))}
    </div>
  );
}

/** Which part of the history is on view. */
export function SpanChoice(props: {
  spans: readonly number[];
  chosen: number;
  onChoose: (span: number) => void;
}) {
  if (props.spans.length === 0) {
    return null;
  }
  return (
    <Choice
      label={trans.__('Time on view')}
      options={props.spans.map(value => ({ value, text: spanText(value) }))}
      chosen={props.chosen}
      onChoose={props.onChoose}
    />
  );
}

function spanText(span: number): string {
  if (!Number.isFinite(span)) {
    return trans.__('all');
  }
  return span >= 3600 ? trans.__('%1 h', span / 3600) : trans.__('%1 min', span / 60);
}
