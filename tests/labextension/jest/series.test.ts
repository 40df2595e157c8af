import {
  ceiling,
  fromLocalMilliseconds,
  gpuPicture,
  known,
  lineOf,
  localMilliseconds,
  nearest,
  spansFor,
  storePicture,
  traffic,
  trafficPicture,
  within
} from '@fanlight/model/series';
import { withSample, type GpuHistories } from '@fanlight/model/history';
import { gpu, store } from './samples';

const at = (time: number, more: object) => ({ ...store(time), ...more });

test('the axis shows the peak, and the capacity once that is near', () => {
  expect(ceiling(10e6, 1e9)).toBe(12.5e6);
  expect(ceiling(0, 1e9)).toBe(1e6);
  expect(ceiling(700e6, 1e9)).toBeGreaterThan(1e9);
});

test('local time and back', () => {
  for (const time of [0, 1.7e9, 1.75e9 + 0.25]) {
    expect(fromLocalMilliseconds(localMilliseconds(time))).toBeCloseTo(time, 3);
  }
});

test('memory, mapped and not, and disk stand on each other', () => {
  const rows = [
    at(100, { used: 50e6, pinned: 20e6, capacity: 100e6 }),
    at(101, { used: 90e6, pinned: 95e6, spilled: 30e6, capacity: 100e6 })
  ];
  const picture = storePicture(rows, Infinity);
  const [mapped, held, disk] = picture.series;
  expect(mapped.value).toEqual([20e6, 90e6]); // mapped is a part of what is used
  expect(held.base).toEqual(mapped.value);
  expect(held.value).toEqual([50e6, 90e6]);
  expect(disk.base).toEqual(held.value);
  expect(disk.value).toEqual([50e6, 120e6]);
  expect(picture.top).toBeGreaterThan(120e6);
  expect(picture.limit).toBe(100e6);
  expect([picture.start, picture.end]).toEqual([81, 101]);
  expect(storePicture([], Infinity).limit).toBeNull();
});

test('a span shows its end, and where the line comes from', () => {
  const rows = [...Array(1000).keys()].map(i => store(i));
  expect(within(rows, 60)).toHaveLength(61);
  expect(storePicture(rows, 60).start).toBe(999 - 60);
  expect(storePicture(rows, Infinity).start).toBe(0);
  expect(within([], 60)).toEqual([]);
  expect(spansFor(30)).toEqual([]);
  expect(spansFor(1000)).toEqual([60, 600, Infinity]);
});

test('traffic is the difference of what was counted', () => {
  const rows = [
    { time: 0, spill_bytes: 0, restore_bytes: 0 },
    { time: 2, spill_bytes: 10, restore_bytes: 0 },
    { time: 2, spill_bytes: 10, restore_bytes: 0 },
    { time: 3, spill_bytes: 10, restore_bytes: 4 }
  ];
  expect(traffic(rows)).toEqual({ time: [0, 2, 2, 3], out: [0, 5, 0, 0], back: [0, 0, 0, 4] });
  expect(trafficPicture(rows, Infinity)?.series.map(s => s.id)).toEqual(['out', 'back']);
  expect(trafficPicture(rows.slice(0, 1), Infinity)).toBeNull();
  expect(trafficPicture([], Infinity)).toBeNull();
});

describe('devices over time', () => {
  const gpus = [gpu({ uuid: 'a' }), gpu({ uuid: 'b', utilization_percent: null, index: 1 })];
  let histories: GpuHistories = new Map();
  for (const time of [0, 1, 2, 100, 101]) {
    histories = withSample(histories, time, gpus);
  }

  it('are broken where nobody looked, and where a device is silent', () => {
    const [a, b] = gpuPicture(gpus, histories, 'utilization', Infinity).series;
    expect(a.time).toEqual([0, 1, 2, 51, 100, 101]);
    expect(a.value).toEqual([37, 37, 37, NaN, 37, 37]);
    expect(b.value.every(Number.isNaN)).toBe(true);
  });

  it('memory is a share of the device', () => {
    const [a] = gpuPicture(gpus, histories, 'memory', 50).series;
    expect(a.time).toEqual([100, 101]);
    expect(a.value[0]).toBeCloseTo(6.25);
  });

  it('watts have room for the limit', () => {
    expect(gpuPicture(gpus, histories, 'power', Infinity).top).toBeCloseTo(324);
    const bare = [gpu({ power_limit: null, power: null })];
    expect(gpuPicture(bare, new Map(), 'power', Infinity)).toMatchObject({
      series: [],
      top: 10.8
    });
  });

  it('what no device tells is not offered', () => {
    const silent = withSample(new Map(), 0, [gpu({ power: null })]);
    expect(known(silent.values(), 'power')).toBe(false);
    expect(known(silent.values(), 'memory')).toBe(true);
  });

  it('are told apart, 32 of them', () => {
    const lines = [...Array(32).keys()].map(n => JSON.stringify(lineOf(n)));
    expect(new Set(lines).size).toBe(32);
  });
});

test('the nearest time', () => {
  expect(nearest([], 3)).toBe(-1);
  expect(nearest([5], 3)).toBe(0);
  expect([0, 0.9, 1.6, 3, 9].map(t => nearest([0, 1, 2, 4], t))).toEqual([0, 1, 2, 2, 3]);
});
