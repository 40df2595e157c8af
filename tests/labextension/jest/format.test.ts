import { bytes, count, duration, percent, plural, rate, shortId } from '@fanlight/format';

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1500, '1.5 kB'],
  [8_000_000, '8 MB'],
  [248_100_000, '248 MB'],
  [999_999_999, '1 GB'],
  [3.14e12, '3.14 TB']
])('bytes(%p) is %p', (value, text) => expect(bytes(value)).toBe(text));

test.each([
  [0, '0 s'],
  [0.00001, '<0.1 ms'],
  [0.0004, '0.4 ms'],
  [0.012, '12 ms'],
  [0.25, '0.3 s'],
  [3.44, '3.4 s'],
  [9.96, '10 s'],
  [59.6, '1 min 0 s'],
  [125, '2 min 5 s'],
  [3780, '1 h 3 min']
])('duration(%p) is %p', (value, text) => expect(duration(value)).toBe(text));

test.each([
  [120, '120 /s'],
  [2.5, '2.5 /s'],
  [0.5, '30 /min'],
  [0.02, '1.2 /min']
])('rate(%p) is %p', (value, text) => expect(rate(value)).toBe(text));

test('the rest', () => {
  expect(count(12345)).toBe('12,345');
  expect(count(0.5)).toBe('0.5');
  expect(percent(0.314)).toBe('31 %');
  expect(percent(0.004)).toBe('<1 %');
  expect(percent(0)).toBe('0 %');
  expect(plural(1, 'task')).toBe('1 task');
  expect(plural(2, 'task')).toBe('2 tasks');
  expect(shortId('0123456789abcdef')).toBe('0123…cdef');
});
