/** What is said about devices: who holds them, how full they are, which belong together. Pure. */
import type { GpuProcessView, GpuView, WorkerView } from '../../events';
import { bytes, count, percent } from '../../format';
import { trans } from '../../i18n';
import { deviceKey } from '../../model/history';
import type { GpuMetric } from '../../model/series';
import type { Data } from '../../model/state';

/** A GPU, or one in MIG mode with its slices. `place` is the device's place in the list. */
export interface Device {
  key: string;
  gpu: GpuView;
  place: number;
}

export interface Board {
  key: string;
  node: string;
  /** Slices of a GPU in MIG mode; a whole GPU stands alone. */
  mig: boolean;
  devices: Device[];
}

/** Devices, with the slices of each GPU together, in the runtime's order. */
export function boards(gpus: readonly GpuView[]): Board[] {
  const found = new Map<string, Board>();
  gpus.forEach((gpu, place) => {
    const mig = gpu.mig !== '';
    const key = mig ? `${gpu.node} ${gpu.index}` : deviceKey(gpu);
    const board = found.get(key) ?? { key, node: gpu.node, mig, devices: [] };
    board.devices.push({ key: deviceKey(gpu), gpu, place });
    found.set(key, board);
  });
  return [...found.values()];
}

/** The machines that the devices are in; [''] where there is one. */
export function nodes(gpus: readonly GpuView[]): string[] {
  return [...new Set(gpus.map(gpu => gpu.node))];
}

/** Something that computes on a device, or holds it. */
export interface User {
  key: string;
  text: string;
  /** Of what runs in it, of this runtime; "" else. */
  task: string;
  worker: string;
  pid: number;
  /** null: not reported. */
  memory: number | null;
  /** It holds the device, and has not used it so far. */
  unused: boolean;
}

export function users(
  gpu: GpuView,
  workers: readonly WorkerView[],
  drivers: readonly number[]
): User[] {
  const found = gpu.processes.map((process): User => {
    const worker = workers.find(w => w.id === process.worker);
    const own = worker !== undefined && worker.pid !== process.pid;
    return {
      key: `${process.pid}`,
      text: processText(process, own, drivers),
      task: process.task_id,
      worker: process.worker,
      pid: process.pid,
      memory: process.memory,
      unused: false
    };
  });
  const seen = new Set(found.map(user => user.worker));
  for (const worker of workers) {
    if (gpu.number >= 0 && gpu.node === '' && worker.gpus.includes(gpu.number)) {
      if (!seen.has(worker.id)) {
        found.push({
          key: worker.id,
          text: worker.task || worker.actor || trans.__('worker'),
          task: worker.task_id,
          worker: worker.id,
          pid: worker.pid,
          memory: null,
          unused: true
        });
      }
    }
  }
  return found;
}

function processText(
  process: GpuProcessView,
  child: boolean,
  drivers: readonly number[]
): string {
  if (process.worker !== '') {
    const name = process.task || process.actor || trans.__('idle worker');
    return child ? trans.__('%1: %2', name, process.name || trans.__('its process')) : name;
  }
  if (drivers.includes(process.pid)) {
    return trans.__("the notebook's kernel");
  }
  return process.name || trans.__('another process');
}

/** "free", "held to 50 %", …: what the scheduler says of a device. */
export function heldText(gpu: GpuView): string {
  if (gpu.number < 0) {
    return trans.__('not used by this runtime');
  }
  return gpu.share > 0 ? trans.__('%1 held', percent(gpu.share)) : trans.__('free');
}

/** The best short name of a device, where the others stand too. */
export function shortName(gpu: GpuView, place: number, several: boolean): string {
  const own =
    gpu.mig === ''
      ? trans.__('GPU %1', gpu.index)
      : trans.__('GPU %1 · %2 (%3)', gpu.index, gpu.mig, place);
  return several && gpu.node !== '' ? trans.__('%1: %2', gpu.node, own) : own;
}

/** Names without the vendor, which is the same for all. */
export function modelName(gpu: GpuView): string {
  return gpu.name.replace(/^NVIDIA /, '').replace(/ MIG \S+$/, '');
}

export function metricTitle(metric: GpuMetric): string {
  switch (metric) {
    case 'utilization':
      return trans.__('Compute');
    case 'memory':
      return trans.__('Memory');
    case 'temperature':
      return trans.__('Heat');
    default:
      return trans.__('Power');
  }
}

export function metricText(metric: GpuMetric, value: number): string {
  switch (metric) {
    case 'utilization':
      return `${Math.round(value)} %`;
    case 'memory':
      return `${Math.round(value)} %`;
    case 'temperature':
      return `${Math.round(value)} °C`;
    default:
      return `${Math.round(value)} W`;
  }
}

/** What the head of the section says: "8 · 37 % busy · 12 GB of 640 GB". */
export function summaryText(data: Data): string {
  const { gpus } = data;
  if (gpus.length === 0) {
    return trans.__('none');
  }
  const lost = gpus.filter(gpu => gpu.error !== '').length;
  const busy = gpus.flatMap(g =>
    g.utilization_percent === null ? [] : [g.utilization_percent]
  );
  const used = gpus.reduce((sum, gpu) => sum + (gpu.memory_used ?? 0), 0);
  const total = gpus.reduce((sum, gpu) => sum + (gpu.memory_total ?? 0), 0);
  return [
    lost > 0 ? trans.__('%1 of %2 lost', lost, gpus.length) : count(gpus.length),
    busy.length > 0
      ? trans.__('%1 % busy', Math.round(busy.reduce((a, b) => a + b, 0) / busy.length))
      : '',
    total > 0 ? trans.__('%1 of %2', bytes(used), bytes(total)) : ''
  ]
    .filter(Boolean)
    .join(' · ');
}
