import { ceiling, chartRows, newRows } from '@fanlight/model/series';
import { store } from './samples';

test('only what came after is new', () => {
  const history = [1, 2, 3, 4].map(t => store(t));
  expect(newRows(history, 2).map(s => s.time)).toEqual([3, 4]);
  expect(newRows(history, 4)).toEqual([]);
  expect(newRows(history, 0)).toHaveLength(4);
});

test('columns have one length', () => {
  const columns = chartRows([store(1), store(2)]);
  expect(new Set(Object.values(columns).map(c => c.length))).toEqual(new Set([2]));
  expect(columns.time[1] - columns.time[0]).toBe(1000);
});

test('the axis shows the peak, and the capacity once that is near', () => {
  expect(ceiling([store(1, 10e6)], 1e9)).toBe(12.5e6);
  expect(ceiling([store(1, 0)], 1e9)).toBe(1e6);
  expect(ceiling([store(1, 700e6)], 1e9)).toBeGreaterThan(1e9);
});
