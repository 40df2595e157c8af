/** GPUs and the object store: what is said of them, and what is not made up. */
import { renderToStaticMarkup } from 'react-dom/server';
import type { GpuProcessView, WorkerView } from '@fanlight/events';
import { withSample } from '@fanlight/model/history';
import { reduce } from '@fanlight/model/reducer';
import { INITIAL } from '@fanlight/model/state';
import { Gpus } from '@fanlight/sections/gpus';
import { boards, heldText, nodes, summaryText, users } from '@fanlight/sections/gpus/model';
import { Meters } from '@fanlight/sections/objectstore';
import {
  fromEvent,
  nextRound,
  placeInCode,
  placeText,
  plain,
  releases
} from '@fanlight/sections/store/model';
import { target } from '@fanlight/views/timechart';
import { delta, gpu, runtime, snapshot, store } from './samples';

const never = () => new Promise<never>(() => undefined);

const worker = (id: string, more: Partial<WorkerView> = {}): WorkerView => ({
  id,
  pid: 100,
  state: 'BUSY',
  cpu_percent: 0,
  rss: 0,
  task: 'train',
  task_id: 't1',
  actor: '',
  finished: 0,
  gpus: [],
  ...more
});

const process = (pid: number, more: Partial<GpuProcessView> = {}): GpuProcessView => ({
  pid,
  memory: 5,
  task: '',
  task_id: '',
  worker: '',
  actor: '',
  name: '',
  ...more
});

function drawn(gpus: ReturnType<typeof gpu>[], status = ''): string {
  return renderToStaticMarkup(
    <Gpus
      runtime={runtime()}
      gpus={gpus}
      histories={withSample(new Map(), 1, gpus)}
      status={status}
      workers={[]}
      theme=""
      wide={false}
      loadChart={never}
      onSelect={() => undefined}
    />
  );
}

test('no GPU says why, and what then', () => {
  const text = drawn([], 'No NVIDIA driver was found.');
  expect(text).toContain('No NVIDIA driver was found.');
  expect(text).toContain('num_gpus=1');
});

test('a device that is lost keeps its place, without figures', () => {
  const text = drawn([gpu({ uuid: 'a', error: 'fell off the bus' }), gpu({ uuid: 'b' })]);
  expect(text).toContain('fell off the bus');
  expect(text.match(/role="meter"/g)).toHaveLength(2); // of the other one
});

test('what is not reported is said to be so', () => {
  const text = drawn([
    gpu({ utilization_percent: null, memory_used: null, temperature: null, power: null })
  ]);
  expect(text.match(/not reported/g)).toHaveLength(2);
  expect(text).not.toContain('role="meter"');
  expect(text).not.toContain('°C');
  expect(text).not.toContain('role="slider"'); // nothing to draw over time
});

test('slices stand with their GPU, whose heat is told once', () => {
  const slices = [0, 1].map(n => gpu({ uuid: `MIG-${n}`, mig: '1g.10gb' }));
  const found = boards([...slices, gpu({ uuid: 'GPU-1', index: 1 })]);
  expect(found.map(b => b.devices.length)).toEqual([2, 1]);
  const text = drawn([...slices, gpu({ uuid: 'GPU-1', index: 1 })]);
  expect(text).toContain('2 MIG slices');
  expect(text.match(/51 °C/g)).toHaveLength(2);
  const silent = slices.map(slice => ({ ...slice, utilization_percent: null }));
  expect(drawn(silent)).toContain('do not report how busy');
  expect(drawn(silent)).not.toContain('Compute');
});

test('the same GPU of two machines is two', () => {
  const two = [gpu({ uuid: '', node: 'a' }), gpu({ uuid: '', node: 'b' })];
  expect(boards(two)).toHaveLength(2);
  expect(nodes(two)).toEqual(['a', 'b']);
  expect(drawn(two)).toContain('<h4 class="fl-Sub">b</h4>');
});

test('who uses a device, and who only holds it', () => {
  const workers = [
    worker('w1'),
    worker('w2', { task: '', actor: 'Model', gpus: [3] }),
    worker('w3', { gpus: [1] })
  ];
  const processes = [
    process(100, { worker: 'w1', task: 'train', task_id: 't1' }),
    process(101, { worker: 'w1', task: 'train', task_id: 't1', name: 'nccl' }),
    process(9, { name: 'Xorg', memory: null }),
    process(7)
  ];
  const found = users(gpu({ number: 3, processes }), workers, [7]);
  expect(found.map(u => [u.text, u.memory, u.unused])).toEqual([
    ['train', 5, false],
    ['train: nccl', 5, false],
    ['Xorg', null, false],
    ["the notebook's kernel", 5, false],
    ['Model', null, true]
  ]);
  expect(users(gpu({ number: -1 }), workers, [])).toEqual([]);
  expect(heldText(gpu({ number: -1 }))).toBe('not used by this runtime');
  expect(heldText(gpu({ share: 0.5 }))).toBe('50 % held');
});

test('the head of the section sums up', () => {
  const data = (gpus: ReturnType<typeof gpu>[]) => reduce(INITIAL, snapshot({ gpus })).data!;
  expect(summaryText(data([]))).toBe('none');
  expect(summaryText(data([gpu(), gpu({ utilization_percent: 63 })]))).toBe(
    '2 · 50 % busy · 2 GB of 32 GB'
  );
  expect(summaryText(data([gpu(), gpu({ error: 'x', memory_total: null })]))).toContain(
    '1 of 2 lost'
  );
});

test('figures and their reason follow the events', () => {
  const first = reduce(INITIAL, snapshot({ gpu_status: 'Looking for GPUs …' }));
  const quiet = reduce(first, delta(6));
  expect(quiet.data!.gpuStatus).toBe('Looking for GPUs …');
  const found = reduce(quiet, delta(7, { gpus: [gpu({ uuid: 'a' })], gpu_status: '' }));
  expect(found.data!.gpuStatus).toBe('');
  expect(found.data!.gpuHistory.get('a')?.utilization).toEqual([37]);
  const gone = reduce(found, delta(8, { gpus: [], gpu_status: 'The driver is gone.' }));
  expect(gone.data!.gpus).toEqual([]);
  expect(gone.data!.gpuHistory.get('a')?.time).toHaveLength(1);
});

test('the store in words, for those who do not see the chart', () => {
  const row = { ...store(100, 80e6, 100e6), pinned: 30e6, spilled: 25e6, spill_bytes: 40e6 };
  const text = renderToStaticMarkup(
    <Meters runtimeId="r" store={[row]} theme="" wide={false} loadChart={never} />
  );
  expect(text).toContain('Mapped 30 MB, Held 50 MB, On disk 25 MB, Capacity 100 MB');
  expect(text).toContain('<dd>40 MB in all</dd>');
  expect(text).toContain('80 % full');
  expect(text).not.toContain('almost full');
});

test('keys go through the moments', () => {
  expect(
    ['ArrowLeft', 'ArrowRight', 'Home', 'End', 'PageUp', 'x'].map(k => target(k, 5, 100))
  ).toEqual([4, 6, 0, 99, 10, null]);
  expect(target('ArrowLeft', 0, 100)).toBe(0);
  expect(target('End', 3, 4)).toBe(3);
});

describe('objects', () => {
  const object = (id: string, size: number, release = '') => ({
    ...fromEvent({ id, size, stored: true, creator: 'f', origin: '', holders: 1 }),
    release
  });

  it('that one line frees stand together, the most first, and little is left out', () => {
    const rows = [
      object('a', 50e6, 'del xs'),
      object('b', 60e6, 'del xs'),
      object('c', 200e6, 'del big'),
      object('d', 2e6, 'del small'),
      object('e', 900e6)
    ];
    expect(releases(rows, 1200e6)).toEqual([
      { code: 'del big', size: 200e6, count: 1 },
      { code: 'del xs', size: 110e6, count: 2 }
    ]);
    expect(releases([object('d', 2e6, 'del small')], 3e6)).toHaveLength(1);
    expect(releases([], 0)).toEqual([]);
  });

  it('are asked for again when something changed, and not too often', () => {
    const first = nextRound(null, store(10, 5));
    expect(nextRound(first, store(11, 6))).toBe(first); // too soon
    const second = nextRound(first, store(12, 5)); // what drivers said meanwhile
    expect(second.time).toBe(12);
    expect(nextRound(second, store(99, 5))).toBe(second); // nothing changed
    expect(nextRound(second, store(99, 6)).again).toBe(true);
    expect(nextRound(first, store(12, 6)).time).toBe(12);
    expect(nextRound(first, store(3, 6)).time).toBe(3); // a recording went back
  });

  it('say where they are, in words', () => {
    expect(placeText({ place: 'mapped', state: 'READY' })).toBe('in use');
    expect(placeText({ place: 'disk', state: 'RESTORING' })).toBe('coming back');
    expect(placeInCode({ file: '/tmp/ipykernel_7/2258.py', line: 3 })).toBe('line 3');
    expect(placeInCode({ file: '/srv/a/train.py', line: 3 })).toBe('train.py, line 3');
    expect(placeInCode({ file: '', line: 0 })).toBe('');
    expect(plain('The variable `x` holds it.')).toBe('The variable x holds it.');
  });
});
