/** Which cell "go to cell" shows. */
import { findCell, findCode, titleLine, type NotebookLike } from '@fanlight/home/cells';

const book = (kernelId: string, ...cells: Array<[string, number | null]>): NotebookLike => ({
  kernelId,
  cells: cells.map(([id, count]) => ({ id, count }))
});

test('a cell is found by its id', () => {
  const books = [book('k1', ['a', 1]), book('k2', ['b', 1], ['c', null])];
  expect(findCell(books, 'c', ['k2'])).toEqual({ notebook: 1, cell: 1 });
  expect(findCell(books, 'a', [])).toEqual({ notebook: 0, cell: 0 });
  expect(findCell(books, 'gone', ['k1'])).toBeNull();
  expect(findCell([], 'a', ['k1'])).toBeNull();
});

test("of two copies it is that of the runtime's notebook", () => {
  const books = [book('other', ['a', 1]), book('mine', ['x', 1], ['a', 2])];
  expect(findCell(books, 'a', ['mine'])).toEqual({ notebook: 1, cell: 1 });
});

test('by execution count only in the notebook of that kernel', () => {
  const books = [book('other', ['a', 3]), book('mine', ['x', 2], ['y', 3])];
  expect(findCell(books, 'In[3]-4711', ['mine'])).toEqual({ notebook: 1, cell: 1 });
  expect(findCell(books, 'In[3]-4711', [])).toBeNull();
  expect(findCell(books, 'In[9]-4711', ['mine'])).toBeNull();
});

test('an empty origin is no cell', () => {
  expect(findCell([book('mine', ['a', null])], '', ['mine'])).toBeNull();
});

test('a line of a traceback leads to the cell that ran last of those that have it', () => {
  const cells = [
    { count: 4, source: 'def f():\n    return 1 / 0' },
    { count: 7, source: '# again\n  return 1 / 0' },
    { count: null, source: 'x\nreturn 1 / 0' }
  ];
  const books = [{ kernelId: 'k', cells }];
  expect(findCode(books, ' return 1 / 0 ', 2, ['k'])).toEqual({ notebook: 0, cell: 1 });
  expect(findCode(books, 'return 1 / 0', 1, ['k'])).toBeNull();
  expect(findCode(books, 'return 1 / 0', 2, ['other'])).toBeNull();
  expect(findCode(books, '', 9, ['k'])).toBeNull();
});

test('a cell is called by its first line that says something', () => {
  expect(titleLine('\n# note\n%time\nx = 1')).toBe('x = 1');
  expect(titleLine('%%remote\n')).toBe('%%remote');
  expect(titleLine('')).toBe('');
  expect(titleLine('y'.repeat(200))).toHaveLength(80);
});
