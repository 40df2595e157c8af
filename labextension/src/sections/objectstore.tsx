/** The object store: over time, in numbers, and its largest objects. */
import { memo, useEffect, useRef, useState } from 'react';
import type { ObjectView, StoreView } from '../events';
import { bytes, plural } from '../format';
import { trans } from '../i18n';
import { storeText } from '../model/selectors';
import { Empty } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import type { StoreChart } from '../chart';

export interface ObjectStoreProps {
  runtimeId: string;
  store: readonly StoreView[];
  objects: readonly ObjectView[];
  /** Changes when the theme does. */
  theme: string;
  loadChart: () => Promise<{ createStoreChart: (host: HTMLElement) => StoreChart }>;
}

export const ObjectStore = memo(function ObjectStore(props: ObjectStoreProps) {
  const { store, objects } = props;
  const now = store[store.length - 1];
  if (!now) {
    return <Empty>The store has not been used yet.</Empty>;
  }
  return (
    <>
      <Chart {...props} />
      <dl className="fl-StoreFacts">
        <Fact tone="used" name="Used" value={bytes(now.used)} />
        <Fact tone="pinned" name="Mapped" value={bytes(now.pinned)} />
        <Fact tone="spilled" name="On disk" value={bytes(now.spilled)} />
        <Fact tone="" name="Inline" value={bytes(now.inline)} />
        <Fact tone="" name="Kept warm" value={bytes(now.cached)} />
        <Fact tone="capacity" name="Capacity" value={bytes(now.capacity)} />
      </dl>
      {objects.length > 0 && (
        <>
          <h4 className="fl-Sub">Largest of {plural(now.objects, 'object')}</h4>
          <Largest objects={objects} />
        </>
      )}
    </>
  );
});

function Fact(props: { tone: string; name: string; value: string }) {
  return (
    <div>
      <dt>
        {props.tone && <i className={`fl-Key fl-Key-${props.tone}`} aria-hidden="true" />}
        {props.name}
      </dt>
      <dd>{props.value}</dd>
    </div>
  );
}

function Largest({ objects }: { objects: readonly ObjectView[] }) {
  const shown = objects.slice(0, 6);
  const largest = Math.max(1, ...shown.map(o => o.size));
  return (
    <ol className="fl-Largest">
      {shown.map(object => (
        <li
          key={object.id}
          title={`${object.id}${object.origin ? `, cell ${object.origin}` : ''}`}
        >
          <span
            className="fl-Largest-bar"
            style={{ transform: `scaleX(${(object.size / largest).toFixed(4)})` }}
          />
          <span className="fl-Largest-name">
            {object.creator || 'put'}
            {!object.stored && <em> inline</em>}
          </span>
          <span>{plural(object.holders, 'holder')}</span>
          <b>{bytes(object.size)}</b>
        </li>
      ))}
    </ol>
  );
}

/** BokehJS is large: it is loaded when this section is first open. */
function Chart({ runtimeId, store, theme, loadChart }: ObjectStoreProps) {
  const host = useRef<HTMLDivElement>(null);
  const [chart, setChart] = useState<StoreChart | null>(null);
  const [problem, setProblem] = useState('');
  useEffect(() => {
    let made: StoreChart | null = null;
    let gone = false;
    loadChart()
      .then(({ createStoreChart }) => {
        if (!gone && host.current) {
          made = createStoreChart(host.current);
          setChart(made);
        }
      })
      .catch(error => !gone && setProblem(`The chart could not be loaded: ${String(error)}`));
    return () => {
      gone = true;
      made?.dispose();
      setChart(null);
    };
  }, [loadChart]);
  useEffect(() => chart?.show(runtimeId, store), [chart, runtimeId, store]);
  useEffect(() => chart?.colour(), [chart, theme]);
  const now = store[store.length - 1];
  return (
    <div
      className="fl-Chart"
      data-used={now.used}
      role="img"
      aria-label={`Object store over time; now ${bytes(now.used)} of ${bytes(now.capacity)}`}
    >
      <div ref={host} className="fl-Chart-host" data-ready={chart !== null} />
      {problem && <p className="fl-Hint">{problem}</p>}
    </div>
  );
}

export const store: SectionSpec = {
  id: 'store',
  title: () => trans.__('Object store'),
  summary: data => storeText(data),
  Body: ({ data, model }: SectionProps) => (
    <ObjectStore
      runtimeId={data.runtime.id}
      store={data.store}
      objects={data.objects}
      theme={model.get().theme}
      loadChart={model.loadChart}
    />
  )
};
