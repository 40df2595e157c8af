/**
 * Which cell of which open notebook something came from. Pure: it works on what notebooks hold.
 *
 * A cell is named by its `origin`: its id in the notebook, or "In[3]-4711" (execution count and the
 * kernel's process) where a front end sent no id.
 */

export interface CellLike {
  id: string;
  /** Of the last execution; null before one, and for Markdown. */
  count: number | null;
}

export interface NotebookLike {
  /** "" without a kernel. */
  kernelId: string;
  cells: readonly CellLike[];
}

export interface Found {
  notebook: number;
  cell: number;
}

const COUNTED = /^In\[(\d+)\]-\d+$/;

/**
 * Where the cell lies, or null. `kernels` are those of the runtime: a copied notebook has cells with
 * the same ids, and execution counts mean nothing in another kernel's notebook.
 */
export function findCell(
  notebooks: readonly NotebookLike[],
  origin: string,
  kernels: readonly string[]
): Found | null {
  const order = notebooks.map((_, index) => index);
  const owned = (index: number): boolean => kernels.includes(notebooks[index]!.kernelId);
  const ranked = [...order.filter(owned), ...order.filter(index => !owned(index))];
  for (const notebook of ranked) {
    const cell = notebooks[notebook]!.cells.findIndex(c => c.id === origin);
    if (cell >= 0) {
      return { notebook, cell };
    }
  }
  const counted = COUNTED.exec(origin);
  for (const notebook of counted ? order.filter(owned) : []) {
    const cell = notebooks[notebook]!.cells.findIndex(c => c.count === Number(counted![1]));
    if (cell >= 0) {
      return { notebook, cell };
    }
  }
  return null;
}

/**
 * The cell whose line `line` (from 1) is `code`, blanks aside: tracebacks name a line, not its cell.
 * Cells that ran last come first. Only in notebooks of the runtime's kernels, or null.
 */
export function findCode(
  notebooks: ReadonlyArray<{ kernelId: string; cells: ReadonlyArray<SourceLike> }>,
  code: string,
  line: number,
  kernels: readonly string[]
): Found | null {
  const wanted = code.trim();
  let best: Found | null = null;
  let newest = -1;
  notebooks.forEach(({ kernelId, cells }, notebook) => {
    if (wanted === '' || !kernels.includes(kernelId)) {
      return;
    }
    cells.forEach(({ count, source }, cell) => {
      if (count !== null && count > newest && source.split('\n')[line - 1]?.trim() === wanted) {
        best = { notebook, cell };
        newest = count;
      }
    });
  });
  return best;
}

export interface SourceLike {
  count: number | null;
  source: string;
}

const TITLE_LENGTH = 80;

/** The line that tells most about a cell: the first that is neither empty nor a comment. */
export function titleLine(source: string): string {
  const lines = source
    .split('\n', 200)
    .map(line => line.trim())
    .filter(line => line !== '');
  const line = lines.find(text => !text.startsWith('#') && !text.startsWith('%')) ?? lines[0];
  return (line ?? '').slice(0, TITLE_LENGTH);
}
