/** The table: order, filter, widths, which rows are drawn, and what a screen reader is told. */
import { renderToStaticMarkup } from 'react-dom/server';
import {
  clampSize,
  facetCounts,
  fitting,
  inOrder,
  leastWidth,
  matching,
  nextSort,
  sorted,
  tracks,
  type Column
} from '@fanlight/views/table/model';
import { OVERSCAN, moved, scrollFor, windowOf } from '@fanlight/views/table/window';
import { Table } from '@fanlight/views/table/table';

interface Item {
  id: string;
  name: string;
  size: number | null;
}

const COLUMNS: readonly Column<Item>[] = [
  { id: 'name', title: 'Name', value: row => row.name, width: 80, grow: 2 },
  {
    id: 'size',
    title: 'Size',
    value: row => row.size,
    text: row => `${row.size} B`,
    width: 60,
    from: 200,
    align: 'end',
    downFirst: true
  },
  { id: 'id', title: 'Id', value: row => row.id, width: 50, from: 400 }
];
const item = (id: string, name: string, size: number | null): Item => ({ id, name, size });
const ids = (rows: readonly Item[]): string => rows.map(row => row.id).join('');

test('sorts numbers as numbers, names as people do, and what is unknown last', () => {
  const rows = [
    item('a', 'f10', 2),
    item('b', 'F2', 10),
    item('c', 'f1', null),
    item('d', 'g', 2)
  ];
  expect(ids(sorted(rows, COLUMNS, { column: 'size', down: false }))).toBe('adbc');
  expect(ids(sorted(rows, COLUMNS, { column: 'size', down: true }))).toBe('badc');
  expect(ids(sorted(rows, COLUMNS, { column: 'name', down: false }))).toBe('cbad');
  expect(sorted(rows, COLUMNS, { column: 'gone', down: false })).toBe(rows);
});

test('a first click sorts a column its own way, a second one the other way', () => {
  const [name, size] = COLUMNS as [Column<Item>, Column<Item>];
  const first = nextSort({ column: 'name', down: false }, size);
  expect(first).toEqual({ column: 'size', down: true });
  expect(nextSort(first, size)).toEqual({ column: 'size', down: false });
  expect(nextSort(first, name)).toEqual({ column: 'name', down: false });
});

test('every word has to be found, each within one column', () => {
  const rows = [item('a', 'load part', 10), item('b', 'load all', 20)];
  expect(ids(matching(rows, COLUMNS, '  LOAD 20 '))).toBe('b');
  expect(ids(matching(rows, COLUMNS, 'part10'))).toBe('');
  expect(matching(rows, COLUMNS, ' ')).toBe(rows);
});

test('nothing moves under the pointer: the old order stays, new rows come last', () => {
  const rows = [item('c', '', 1), item('a', '', 2), item('d', '', 3), item('b', '', 4)];
  const key = (row: Item): string => row.id;
  expect(ids(inOrder(rows, ['a', 'b', 'gone', 'c'], key))).toBe('abcd');
  expect(ids(inOrder(rows, [], key))).toBe('cadb');
});

test('columns give way where there is no room for them', () => {
  expect(fitting(COLUMNS, 150).map(c => c.id)).toEqual(['name']);
  expect(fitting(COLUMNS, 300).map(c => c.id)).toEqual(['name', 'size']);
  expect(fitting(COLUMNS, 0)).toHaveLength(3); // not measured yet
});

test('what was resized keeps its size, and the rest fills the table', () => {
  expect(tracks(COLUMNS, {})).toBe('minmax(80px, 2fr) 60px 50px');
  expect(tracks(COLUMNS, { size: 90 })).toBe('minmax(80px, 2fr) 90px 50px');
  expect(tracks(COLUMNS, { name: 200 })).toBe('200px 60px minmax(50px, 1fr)');
  expect(tracks(COLUMNS, { name: 200, id: 70 })).toBe('200px 60px minmax(70px, 1fr)');
  expect(leastWidth(COLUMNS, { name: 200 })).toBe(200 + 60 + 50 + 12);
  expect(clampSize(-5)).toBe(28);
  expect(clampSize(1e9)).toBe(1200);
});

test('counts of a facet: its order first, nothing that is not there', () => {
  const facet = {
    title: '',
    label: String,
    value: (row: Item) => row.name,
    order: ['x', 'y', 'z']
  };
  const rows = [item('a', 'z', 0), item('b', 'other', 0), item('c', 'x', 0), item('d', 'z', 0)];
  expect([...facetCounts(rows, facet)]).toEqual([
    ['x', 1],
    ['z', 2],
    ['other', 1]
  ]);
});

test('few rows are drawn of however many, and always those in view', () => {
  const height = 312;
  for (const n of [0, 1, 13, 10_000, 1_000_000]) {
    for (const top of [0, 25, 26, 5_000, n * 26 - height, n * 26 + 10_000]) {
      const { first, end } = windowOf(top, height, 26, n);
      expect(end - first).toBeLessThanOrEqual(Math.ceil(height / 26) + 1 + 3 * OVERSCAN);
      expect(first).toBeGreaterThanOrEqual(0);
      expect(end).toBeLessThanOrEqual(n);
      const seen = Math.max(0, Math.min(top, n * 26 - height));
      expect(first).toBeLessThanOrEqual(seen / 26);
      expect(end).toBeGreaterThanOrEqual(Math.min(n, (seen + height) / 26));
    }
  }
});

test('most scroll events change nothing', () => {
  const seen = new Set<number>();
  for (let top = 20_000; top < 20_000 + 26 * 40; top++) {
    seen.add(windowOf(top, 300, 26, 10_000).first);
  }
  expect(seen.size).toBeLessThanOrEqual(12);
});

test('keys move the cursor, and its row is scrolled into view, no further', () => {
  expect(moved('ArrowDown', -1, 5, 3)).toBe(0);
  expect(moved('PageDown', 3, 5, 3)).toBe(4);
  expect(moved('ArrowUp', 0, 5, 3)).toBe(0);
  expect(moved('End', 0, 5, 3)).toBe(4);
  expect(moved('Home', 4, 5, 3)).toBe(0);
  expect(moved('x', 4, 5, 3)).toBeNull();
  expect(scrollFor(10, 0, 260, 26)).toBe(26);
  expect(scrollFor(3, 0, 260, 26)).toBe(0);
  expect(scrollFor(3, 200, 260, 26)).toBe(78);
});

test('a table of 10,000 rows draws a screenful, and says how many there are', () => {
  const rows = Array.from({ length: 10_000 }, (_, i) => item(`i${i}`, `<b>${i}</b>`, i));
  const shown = renderToStaticMarkup(
    <Table
      id="test"
      label="Items"
      rows={rows}
      columns={COLUMNS}
      rowKey={row => row.id}
      sort={{ column: 'size', down: true }}
      onRow={() => undefined}
      selected="i9998"
    />
  );
  expect(shown.match(/fl-Table-row/g)!.length).toBeLessThan(50);
  expect(shown).toContain('aria-rowcount="10001"');
  expect(shown).toContain('aria-sort="descending"');
  expect(shown).toMatch(/aria-rowindex="3" aria-selected="true"/);
  expect(shown).toContain('&lt;b&gt;9999');
  expect(shown).not.toContain('<b>9');
  expect(shown).toContain('type="search"');
});
