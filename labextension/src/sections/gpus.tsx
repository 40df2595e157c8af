/** Devices as NVML reports them, now and over time, or why there are none. */
import { memo, useMemo, useState } from 'react';
import type { GpuView, RuntimeView, WorkerView } from '../events';
import { trans } from '../i18n';
import type { ChartModule } from '../model/charts';
import { deviceKey, type GpuHistories } from '../model/history';
import {
  GPU_METRICS,
  gpuPicture,
  known,
  lineOf,
  nearest,
  spansFor,
  type GpuMetric
} from '../model/series';
import { Empty } from '../views/parts';
import type { SectionProps, SectionSpec, Selection } from '../views/section';
import { Choice, Legend, SpanChoice, TimeChart } from '../views/timechart';
import { Card } from './gpus/card';
import {
  boards,
  metricText,
  metricTitle,
  nodes,
  shortName,
  summaryText,
  users
} from './gpus/model';

export interface GpusProps {
  runtime: RuntimeView;
  gpus: readonly GpuView[];
  histories: GpuHistories;
  status: string;
  workers: readonly WorkerView[];
  theme: string;
  wide: boolean;
  loadChart: () => Promise<ChartModule>;
  onSelect: (selection: Selection) => void;
}

export const Gpus = memo(function Gpus(props: GpusProps) {
  const { gpus, status, workers, runtime } = props;
  const [hovered, setHovered] = useState<string | null>(null);
  if (gpus.length === 0) {
    return (
      <Empty>
        {status || trans.__('No GPU was found on this machine.')}
        <br />
        <small>
          {trans.__(
            'Work runs on CPUs. Where there are GPUs, a task asks for one with num_gpus=1.'
          )}
        </small>
      </Empty>
    );
  }
  const drivers = runtime.drivers.map(driver => driver.pid);
  const machines = nodes(gpus);
  const all = boards(gpus);
  return (
    <>
      {status !== '' && <p className="fl-Hint">{status}</p>}
      <History {...props} hovered={hovered} />
      {machines.map(machine => (
        <div key={machine} className="fl-Gpu-node">
          {machines.length > 1 && <h4 className="fl-Sub">{machine}</h4>}
          <ul className="fl-Gpus">
            {all
              .filter(board => board.node === machine)
              .map(board => (
                <Card
                  key={board.key}
                  board={board}
                  usersOf={gpu => users(gpu, workers, drivers)}
                  onSelect={props.onSelect}
                  onHover={setHovered}
                />
              ))}
          </ul>
        </div>
      ))}
    </>
  );
});

const SHARES = (value: number): string => (value > 100 ? '' : `${value} %`);
const DEGREES = (value: number): string => `${value}°`;
const WATTS = (value: number): string => `${value} W`;
const WRITE: Record<GpuMetric, (value: number) => string> = {
  utilization: SHARES,
  memory: SHARES,
  temperature: DEGREES,
  power: WATTS
};
/** More devices than this are not told one by one below the chart: their cards say it. */
const LEGEND_LIMIT = 8;

function History(props: GpusProps & { hovered: string | null }) {
  const { gpus, histories } = props;
  const [chosen, setMetric] = useState<GpuMetric>('utilization');
  const [span, setSpan] = useState(Infinity);
  const [cursor, setCursor] = useState<number | null>(null);
  const offered = useMemo(() => {
    const own = gpus.flatMap(gpu => histories.get(deviceKey(gpu)) ?? []);
    return GPU_METRICS.filter(metric => known(own, metric));
  }, [gpus, histories]);
  const metric = offered.includes(chosen) ? chosen : offered[0];
  const picture = useMemo(
    () => (metric ? gpuPicture(gpus, histories, metric, span) : null),
    [gpus, histories, metric, span]
  );
  if (!metric || !picture) {
    return null; // the devices tell nothing that could be drawn
  }
  const several = nodes(gpus).length > 1;
  const at = (key: string, time: number): string => {
    const series = picture.series.find(s => s.id === key);
    const i = series ? nearest(series.time, time) : -1;
    const value = series && i >= 0 ? series.value[i] : NaN;
    return Number.isNaN(value) ? '–' : metricText(metric, value);
  };
  const moment = cursor ?? picture.end;
  const items = gpus.slice(0, LEGEND_LIMIT).map((gpu, n) => ({
    id: deviceKey(gpu),
    label: shortName(gpu, n, several),
    value: at(deviceKey(gpu), moment),
    tone: lineOf(n).tone,
    mark: lineOf(n).dash.length > 0 ? ('dashed' as const) : ('line' as const)
  }));
  const seconds = Math.max(0, ...[...histories.values()].map(h => picture.end - h.time[0]));
  return (
    <div className="fl-Meters">
      <div className="fl-Meters-tools">
        <Choice
          label={trans.__('Figure on view')}
          options={offered.map(value => ({ value, text: metricTitle(value) }))}
          chosen={metric}
          onChoose={setMetric}
        />
        <SpanChoice spans={spansFor(seconds)} chosen={span} onChoose={setSpan} />
      </div>
      <TimeChart
        load={props.loadChart}
        theme={props.theme}
        height={props.wide ? 190 : 120}
        ticks={3}
        left={40}
        write={WRITE[metric]}
        mode={`${props.runtime.id} ${metric} ${span} ${gpus.length}`}
        picture={picture}
        label={trans.__('%1 of the GPUs over time', metricTitle(metric))}
        describe={time =>
          gpus
            .map((gpu, n) =>
              trans.__('%1 %2', shortName(gpu, n, several), at(deviceKey(gpu), time))
            )
            .join(', ')
        }
        cursor={cursor}
        onCursor={setCursor}
        emphasis={props.hovered}
      />
      {gpus.length > 1 && <Legend items={items} time={cursor} />}
      {gpus.length === 1 && cursor !== null && <Legend items={items} time={cursor} />}
    </div>
  );
}

export const gpus: SectionSpec = {
  id: 'gpus',
  title: () => trans.__('GPUs'),
  summary: summaryText,
  bad: data => data.gpus.some(gpu => gpu.error !== ''),
  Body: ({ data, model, wide, onSelect }: SectionProps) => (
    <Gpus
      runtime={data.runtime}
      gpus={data.gpus}
      histories={data.gpuHistory}
      status={data.gpuStatus}
      workers={data.workers}
      theme={model.get().theme}
      wide={wide}
      loadChart={model.loadChart}
      onSelect={onSelect}
    />
  )
};
