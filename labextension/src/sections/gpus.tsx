/** Devices as NVML reports them, or why there are none. */
import { memo } from 'react';
import type { GpuView } from '../events';
import { bytes, count } from '../format';
import { trans } from '../i18n';
import type { SectionProps, SectionSpec } from '../views/section';
import { Empty, Meter } from '../views/parts';

export interface GpusProps {
  gpus: readonly GpuView[];
  status: string;
}

export const Gpus = memo(function Gpus({ gpus, status }: GpusProps) {
  if (gpus.length === 0) {
    return <Empty>{status || 'No GPU was found on this machine.'}</Empty>;
  }
  return (
    <ul className="fl-Gpus">
      {gpus.map(gpu => (
        <li key={gpu.uuid || gpu.index}>
          <p className="fl-Gpu-name">
            <b>GPU {gpu.index}</b> {gpu.name}
            {gpu.share > 0 && (
              <span className="fl-Chip">{Math.round(gpu.share * 100)} % held by tasks</span>
            )}
          </p>
          {gpu.error !== '' && <p className="fl-Hint fl-bad">{gpu.error}</p>}
          {gpu.utilization_percent !== null && (
            <Gauge
              name="Compute"
              share={gpu.utilization_percent / 100}
              text={`${gpu.utilization_percent.toFixed(0)} %`}
            />
          )}
          {gpu.memory_used !== null && gpu.memory_total !== null && gpu.memory_total > 0 && (
            <Gauge
              name="Memory"
              share={gpu.memory_used / gpu.memory_total}
              text={`${bytes(gpu.memory_used)} of ${bytes(gpu.memory_total)}`}
            />
          )}
          <p className="fl-Gpu-facts">
            {gpu.temperature !== null && <span>{gpu.temperature.toFixed(0)} °C</span>}
            {gpu.power !== null && (
              <span>
                {gpu.power.toFixed(0)}
                {gpu.power_limit !== null && `/${gpu.power_limit.toFixed(0)}`} W
              </span>
            )}
            {gpu.processes.slice(0, 4).map(process => (
              <span key={process.pid} title={`pid ${process.pid}`}>
                {process.task || `pid ${process.pid}`}: {bytes(process.memory ?? 0)}
              </span>
            ))}
          </p>
        </li>
      ))}
    </ul>
  );
});

function Gauge(props: { name: string; share: number; text: string }) {
  return (
    <div className="fl-Gauge">
      <span>{props.name}</span>
      <Meter
        share={props.share}
        label={props.name}
        text={props.text}
        tone={props.share > 0.9 ? 'warm' : 'running'}
      />
      <small>{props.text}</small>
    </div>
  );
}

export const gpus: SectionSpec = {
  id: 'gpus',
  title: () => trans.__('GPUs'),
  summary: data => (data.gpus.length > 0 ? count(data.gpus.length) : trans.__('none')),
  Body: ({ data }: SectionProps) => <Gpus gpus={data.gpus} status={data.gpuStatus} />
};
