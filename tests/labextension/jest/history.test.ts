import {
  deviceKey,
  groups,
  oneStoreRow,
  withRow,
  withSample,
  type GpuHistories
} from '@fanlight/model/history';
import type { StoreView } from '@fanlight/events';
import { gpu, store } from './samples';

describe('a history that thins itself', () => {
  it('groups as the node does', () => {
    // The same example as in runtime/fanlight/observe/history.py.
    expect(groups([0, 1, 2, 3, 998, 999, 1000], 5)).toEqual([0, 4, 5, 6]);
    expect(groups([1, 2], 5)).toEqual([0, 1]);
  });

  it('keeps hours within its limit, with its beginning, its peaks and the newest rows', () => {
    let rows: readonly StoreView[] = [];
    for (let i = 0; i < 20_000; i += 1) {
      rows = withRow(rows, store(1.7e9 + i, i === 500 ? 99 : 1), oneStoreRow);
      if (rows.length > 600) {
        throw new Error(`${rows.length} rows`);
      }
    }
    const times = rows.map(r => r.time);
    expect(Math.max(...rows.map(r => r.used))).toBe(99);
    expect(times[0]).toBeLessThan(1.7e9 + 2000);
    expect(times.slice(-10)).toEqual([...Array(10).keys()].map(i => 1.7e9 + 19_990 + i));
  });

  it('leaves the old list as it was', () => {
    const old = [...Array(600).keys()].map(i => store(i));
    const next = withRow(old, store(600), oneStoreRow);
    expect(old).toHaveLength(600);
    expect(next.length).toBeLessThan(600);
    expect(next[next.length - 1]).toEqual(store(600));
  });
});

describe('figures of devices', () => {
  it('are bounded, averaged, and never zero where there are none', () => {
    let histories: GpuHistories = new Map();
    for (let i = 0; i < 2000; i += 1) {
      const views = [
        gpu({ uuid: 'a', utilization_percent: 100 * (i % 2), memory_used: i === 44 ? 7 : 1 }),
        gpu({ uuid: '', index: 3, utilization_percent: null, memory_used: null })
      ];
      histories = withSample(histories, i, views);
    }
    const a = histories.get('a');
    const b = histories.get('#3');
    expect(a?.time.length).toBeLessThanOrEqual(600);
    expect(a?.utilization.length).toBe(a?.time.length);
    expect(Math.max(...(a?.memory ?? []).map(Number))).toBe(7);
    for (const value of a?.utilization.slice(0, 100) ?? []) {
      expect(Math.abs(Number(value) - 50)).toBeLessThan(20);
    }
    expect(new Set([...(b?.utilization ?? []), ...(b?.memory ?? [])])).toEqual(new Set([null]));
  });

  it('of very many devices share the room of eight', () => {
    let histories: GpuHistories = new Map();
    for (let i = 0; i < 300; i += 1) {
      const views = [...Array(56).keys()].map(n => gpu({ uuid: `MIG-${n}` }));
      histories = withSample(histories, i, views);
    }
    const rows = [...histories.values()].reduce((sum, h) => sum + h.time.length, 0);
    expect(rows).toBeLessThanOrEqual(8 * 600);
    for (let i = 0; i < 100; i += 1) {
      histories = withSample(histories, 300 + i, [gpu({ uuid: `new${i}` })]);
    }
    expect(histories.size).toBeLessThanOrEqual(64);
    expect([...histories.keys()].pop()).toBe('new99');
  });

  it('are known by uuid, else by place', () => {
    expect(deviceKey(gpu({ uuid: 'GPU-1' }))).toBe('GPU-1');
    expect(deviceKey(gpu({ uuid: '', node: 'b', index: 2 }))).toBe('b#2');
  });
});
