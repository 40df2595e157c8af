/** The object store: over time, in numbers, what goes to disk and back, and its largest objects. */
import { memo, useMemo, useState } from 'react';
import type { StoreView } from '../events';
import { bytes, count, percent } from '../format';
import { trans } from '../i18n';
import type { ChartModule } from '../model/charts';
import { storeText } from '../model/selectors';
import {
  nearest,
  spansFor,
  storePicture,
  traffic,
  trafficPicture,
  within
} from '../model/series';
import { Empty } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import { Legend, SpanChoice, TimeChart, type LegendItem } from '../views/timechart';
import { Largest } from './store/largest';

export interface MetersProps {
  runtimeId: string;
  store: readonly StoreView[];
  /** Changes when the theme does. */
  theme: string;
  wide: boolean;
  loadChart: () => Promise<ChartModule>;
}

/** Above this share of the capacity, what nobody maps goes to disk before long. */
const NEARLY_FULL = 0.9;
const AXIS = 58;

function size(value: number): string {
  return value === 0 ? '0' : bytes(value);
}

function rate(value: number): string {
  return value === 0 ? '0' : trans.__('%1/s', bytes(value));
}

export const Meters = memo(function Meters(props: MetersProps) {
  const { store, runtimeId, loadChart, theme } = props;
  const [chosen, setSpan] = useState(Infinity);
  const [cursor, setCursor] = useState<number | null>(null);
  const now = store[store.length - 1];
  const spans = spansFor(now.time - store[0].time);
  const span = spans.includes(chosen) ? chosen : Infinity;
  const picture = useMemo(() => storePicture(store, span), [store, span]);
  const moves = useMemo(() => trafficPicture(store, span), [store, span]);
  const rowAt = (time: number | null): StoreView =>
    time === null
      ? now
      : (store[
          nearest(
            store.map(s => s.time),
            time
          )
        ] ?? now);
  const row = rowAt(cursor);
  return (
    <div className="fl-Meters" data-used={now.used} data-spilled={now.spilled}>
      <div className="fl-Meters-tools">
        <span className="fl-Meters-title">{share(row)}</span>
        <SpanChoice spans={spans} chosen={span} onChoose={setSpan} />
      </div>
      <TimeChart
        load={loadChart}
        theme={theme}
        height={props.wide ? 220 : 132}
        ticks={props.wide ? 5 : 3}
        left={AXIS}
        write={size}
        mode={`${runtimeId} ${span}`}
        picture={picture}
        label={trans.__('Object store over time')}
        describe={time => legend(rowAt(time)).map(spoken).join(', ')}
        cursor={cursor}
        onCursor={setCursor}
      />
      <Legend items={legend(row)} time={cursor} />
      {now.capacity > 0 && now.used > now.capacity * NEARLY_FULL && (
        <p className="fl-Hint">
          {trans.__(
            'Memory is almost full: objects that no process uses go to disk, and come back when they are needed.'
          )}
        </p>
      )}
      {moves !== null && (
        <>
          <h4 className="fl-Sub">{trans.__('To disk and back')}</h4>
          <TimeChart
            load={loadChart}
            theme={theme}
            height={props.wide ? 110 : 78}
            ticks={2}
            left={AXIS}
            write={rate}
            mode={`${runtimeId} ${span}`}
            picture={moves}
            label={trans.__('Bytes a second to disk and back')}
            describe={time => moved(store, span, time).map(spoken).join(', ')}
            cursor={cursor}
            onCursor={setCursor}
          />
          <Legend items={moved(store, span, cursor)} time={null} />
        </>
      )}
    </div>
  );
});

function share(row: StoreView): string {
  return row.capacity > 0
    ? trans.__('%1 full · %2', percent(row.used / row.capacity), objectsText(row.objects))
    : objectsText(row.objects);
}

function objectsText(n: number): string {
  return trans._n('%1 object', '%1 objects', n).replace(String(n), count(n));
}

function spoken(item: LegendItem): string {
  return trans.__('%1 %2', item.label, item.value);
}

function legend(row: StoreView): LegendItem[] {
  const mapped = Math.min(row.pinned, row.used);
  return [
    {
      id: 'mapped',
      label: trans.__('Mapped'),
      value: bytes(mapped),
      tone: '--fl-used',
      hint: trans.__('Memory that processes look at now: it cannot go to disk.')
    },
    {
      id: 'held',
      label: trans.__('Held'),
      value: bytes(row.used - mapped),
      tone: '--fl-held',
      hint: trans.__('In memory, and no process looks at it.')
    },
    {
      id: 'disk',
      label: trans.__('On disk'),
      value: bytes(row.spilled),
      tone: '--fl-spilled',
      mark: 'hatch',
      hint: trans.__('Only on disk, since memory was full.')
    },
    {
      id: 'capacity',
      label: trans.__('Capacity'),
      value: bytes(row.capacity),
      tone: '--fl-failed',
      mark: 'dashed',
      hint: trans.__('What may be in memory at most.')
    },
    {
      id: 'inline',
      label: trans.__('Small objects'),
      value: bytes(row.inline),
      tone: '',
      hint: trans.__('Kept by the runtime itself, beside the store.')
    },
    {
      id: 'cached',
      label: trans.__('Kept warm'),
      value: bytes(row.cached),
      tone: '',
      hint: trans.__('Freed memory that the next object gets at once.')
    }
  ];
}

/** What moves at a moment, or, without one, what has moved so far. */
function moved(store: readonly StoreView[], span: number, time: number | null): LegendItem[] {
  const rates = traffic(within(store, span));
  const i = time === null ? -1 : nearest(rates.time, time);
  const now = store[store.length - 1];
  return [
    {
      id: 'out',
      label: trans.__('To disk'),
      value: i < 0 ? trans.__('%1 in all', bytes(now.spill_bytes)) : rate(rates.out[i]),
      tone: '--fl-spilled',
      mark: 'line'
    },
    {
      id: 'back',
      label: trans.__('Brought back'),
      value: i < 0 ? trans.__('%1 in all', bytes(now.restore_bytes)) : rate(rates.back[i]),
      tone: '--fl-done',
      mark: 'dashed'
    }
  ];
}

function Store({ data, model, live, wide, selection, onSelect }: SectionProps) {
  if (data.store.length === 0) {
    return <Empty>{trans.__('The store has not been used yet.')}</Empty>;
  }
  return (
    <>
      <Meters
        runtimeId={data.runtime.id}
        store={data.store}
        theme={model.get().theme}
        wide={wide}
        loadChart={model.loadChart}
      />
      <Largest
        model={model}
        now={data.store[data.store.length - 1]}
        objects={data.objects}
        askable={live || model.source.kind === 'replay'}
        wide={wide}
        selected={selection?.kind === 'object' ? selection.id : ''}
        onSelect={onSelect}
      />
    </>
  );
}

export const store: SectionSpec = {
  id: 'store',
  title: () => trans.__('Object store'),
  summary: data => storeText(data),
  Body: Store
};
