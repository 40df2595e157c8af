/** The graph's arithmetic: places that stay, grids that only grow, columns, cameras, lines. */
import {
  bounded,
  contains,
  fitted,
  overlaps,
  panned,
  revealing,
  toWorld,
  visible,
  zoomedAt
} from '@fanlight/model/graph/camera';
import { Columns, workerNumber, type ColumnsAnswer } from '@fanlight/model/graph/columns';
import { nearestTowards } from '@fanlight/model/graph/directions';
import {
  arrange,
  neighbour,
  outgrown,
  shapeFor,
  taskAt,
  PITCH,
  type Arrangement
} from '@fanlight/model/graph/grid';
import { LayoutWorker, workerText } from '@fanlight/model/graph/layoutworker';
import {
  linkLabel,
  linkText,
  links,
  loopOf,
  middleOf,
  piecesOf,
  thickness,
  wayBetween,
  PIECE
} from '@fanlight/model/graph/links';
import { cellsOf, matchingGroups, matchingTasks } from '@fanlight/model/graph/matching';
import { layNeighbours } from '@fanlight/model/graph/neighbours';
import { Placing } from '@fanlight/model/graph/placing';
import { layered, type LayoutEdge } from '@fanlight/model/layout';
import { NO_FILTER } from '@fanlight/views/model';
import { forEachRun } from '@fanlight/sections/graph/grid';
import { group, task } from './samples';

const SIZE = { nodeWidth: 100, nodeHeight: 40, gapX: 20, gapY: 30, gapParts: 16, width: 580 };
const SEEDS = [1, 2, 3, 4, 5];

/** Numbers below n that look random and are the same in every run. */
function numbers(seed: number): (n: number) => number {
  let state = seed * 7919;
  return n => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor((state / 2147483648) * n);
  };
}

function pairs(...all: Array<[number, number]>): LayoutEdge[] {
  return all.map(([source, target]) => ({ source, target }));
}

// --- places --------------------------------------------------------------------------------------
test.each(SEEDS)('nodes never move as others arrive, and never cover each other (%i)', seed => {
  const next = numbers(seed);
  const placing = new Placing(SIZE);
  const ids: number[] = [];
  const edges: LayoutEdge[] = [];
  const first = new Map<number, string>();
  for (let id = 0; id < 120; id++) {
    ids.push(id);
    for (let k = next(3); k > 0 && id > 0; k--) {
      // Most come from older nodes; some close cycles or are loops.
      edges.push({ source: next(id + 1), target: next(4) ? id : next(id + 1) });
    }
    placing.update(ids, edges);
    for (const [node, place] of placing.nodes) {
      const text = `${place.x} ${place.y}`;
      expect(first.get(node) ?? text).toBe(text);
      first.set(node, text);
    }
  }
  const boxes = [...placing.nodes.values()].map(p => ({ ...p, width: 100, height: 40 }));
  const covered = boxes.filter((a, i) => boxes.slice(i + 1).some(b => overlaps(a, b)));
  expect(covered).toEqual([]);
  expect(placing.update(ids, edges)).toBe(false);
});

test('a new node stands below what it depends on, or above what depends on it', () => {
  const placing = new Placing(SIZE);
  placing.update([1, 2, 3], pairs([1, 2], [3, 1]));
  const y = (id: number): number => placing.nodes.get(id)!.y;
  expect(y(2)).toBeGreaterThan(y(1));
  expect(y(3)).toBeLessThan(y(1));
  placing.update([1, 3], []);
  expect([...placing.nodes.keys()]).toEqual([1, 3]);
});

test('what depends on nothing stands in rows as wide as the view', () => {
  const placing = new Placing(SIZE);
  placing.update([...Array(13).keys()], []);
  expect(placing.bounds().width).toBeLessThanOrEqual(SIZE.width);
  expect(new Set([...placing.nodes.values()].map(p => p.y)).size).toBe(3);
});

test('a full layout is taken over, and kept as nodes are added', () => {
  const edges = pairs([1, 2], [2, 3], [1, 3]);
  const laid = layered([1, 2, 3], edges, SIZE);
  const placing = new Placing(SIZE);
  placing.adopt(laid);
  placing.update([1, 2, 3, 4], [...edges, { source: 3, target: 4 }]);
  for (const [id, place] of laid.nodes) {
    expect(placing.nodes.get(id)).toEqual(place);
  }
  expect(placing.route(1, 3)!.length).toBeGreaterThan(2);
  expect(placing.route(3, 4)).toBeUndefined();
});

// --- the worker ----------------------------------------------------------------------------------
test('the text of the worker is a whole program, with the same answers', () => {
  const answers: unknown[] = [];
  // A scope with nothing of this module in it, as a worker has it.
  const start = new Function('postMessage', `let onmessage; ${workerText()} return onmessage;`);
  const onmessage = start((told: unknown) => answers.push(told)) as (event: object) => void;
  const job = { ids: [1, 2, 3, 4], edges: pairs([1, 2], [2, 4], [1, 4]), options: SIZE };
  onmessage({ data: { id: 7, ...job } });
  const here = layered(job.ids, job.edges, SIZE);
  const there = answers[0] as { id: number; laid: typeof here };
  expect(there.id).toBe(7);
  expect([...there.laid.nodes]).toEqual([...here.nodes]);
  expect(there.laid.edges.map(e => e.points)).toEqual(here.edges.map(e => e.points));
});

test('without a worker the page lays out itself', async () => {
  const worker = new LayoutWorker();
  const job = { ids: [1, 2], edges: pairs([1, 2]), options: SIZE };
  expect(worker.quick(job)!.nodes.size).toBe(2);
  const many = { ids: [...Array(200).keys()], edges: [], options: SIZE };
  expect(worker.quick(many)).toBeNull();
  expect((await worker.lay(many)).nodes.size).toBe(200);
  expect(worker.how).toBe('page');
});

test('a worker that a policy forbids, at once or later, is done without', async () => {
  const many = { ids: [...Array(200).keys()], edges: [], options: SIZE };
  class Refused {
    onerror: (event: object) => void = () => undefined;
    terminate = (): void => undefined;
    postMessage(): void {
      this.onerror({ preventDefault: () => undefined });
    }
  }
  const scope = globalThis as { Worker?: unknown };
  try {
    scope.Worker = Refused;
    expect((await new LayoutWorker().lay(many)).nodes.size).toBe(200);
    scope.Worker = class {
      constructor() {
        throw new Error('refused');
      }
    };
    expect((await new LayoutWorker().lay(many)).nodes.size).toBe(200);
  } finally {
    delete scope.Worker;
  }
});

// --- grids ---------------------------------------------------------------------------------------
function known(count: number, seed = 1) {
  const next = numbers(seed);
  const depth = new Uint16Array(count);
  const submitted = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    depth[i] = next(5);
    submitted[i] = 1000 + i * 0.01;
  }
  return { count, depth, submitted };
}

test.each<Arrangement>(['order', 'depth', 'time'])(
  'tasks in a grid by %s keep their places as more come, one each',
  by => {
    const all = known(3000);
    const shape = shapeFor(by, { ...all, count: 800 }, 1.5);
    const before = arrange({ ...all, count: 800 }, shape);
    const after = arrange(all, shape);
    expect(after.columns.slice(0, 800)).toEqual(before.columns);
    expect(after.rows.slice(0, 800)).toEqual(before.rows);
    const places = new Set(after.columns.map((c, i) => c * 100_000 + after.rows[i]));
    expect(places.size).toBe(3000);
    for (const i of [0, 1, 799, 2999]) {
      const [x, y] = [after.columns[i] * PITCH + 3, after.rows[i] * PITCH + 3];
      expect(taskAt(after, x, y)).toBe(i);
    }
    expect(taskAt(after, -1, 0)).toBe(-1);
    expect(taskAt(after, 1e9, 0)).toBe(-1);
  }
);

test('depths are columns from left to right', () => {
  const all = known(500);
  const grid = arrange(all, shapeFor('depth', all, 2));
  expect(grid.bands).toBe(5);
  for (let i = 1; i < 500; i++) {
    const order = all.depth[i] - all.depth[i - 1];
    if (order !== 0) {
      expect(Math.sign(grid.columns[i] - grid.columns[i - 1])).toBe(Math.sign(order));
    }
  }
});

test('a grid is about as wide as the view, and gets a new form only when it is far too small', () => {
  const all = known(10_000);
  const grid = arrange(all, shapeFor('order', all, 2));
  expect(grid.width / grid.height).toBeCloseTo(2, 0);
  expect(outgrown(grid.shape, 39_000)).toBe(false);
  expect(outgrown(grid.shape, 41_000)).toBe(true);
});

test('strange times and depths do no harm', () => {
  const none = { count: 0, depth: [], submitted: [] };
  for (const by of ['order', 'depth', 'time'] as const) {
    expect(arrange(none, shapeFor(by, none, 1)).width).toBe(0);
  }
  const odd = { count: 3, depth: [0, 65_535, 9], submitted: [0, 1e12, 5] };
  for (const by of ['depth', 'time'] as const) {
    const grid = arrange(odd, shapeFor(by, odd, 1));
    expect(grid.at.length).toBeLessThan(10_000);
    expect([...grid.at].filter(i => i >= 0).length).toBe(3);
  }
});

test('arrow keys walk through the grid, past gaps', () => {
  const all = { count: 5, depth: [0, 0, 2, 2, 2], submitted: [0, 0, 0, 0, 0] };
  const shape = { ...shapeFor('depth', all, 1), band: 1 };
  const grid = arrange(all, shape); // columns: 0 1 | nothing | 2 3 4
  expect(neighbour(grid, 0, 1, 0)).toBe(2);
  expect(neighbour(grid, 4, -1, 0)).toBe(1);
  expect(neighbour(grid, 2, 0, 1)).toBe(3);
  expect(neighbour(grid, 4, 0, 1)).toBe(4);
});

// --- columns -------------------------------------------------------------------------------------
interface Told {
  slot: number;
  id: string;
  state: number;
  submitted: number;
}

function answer(told: Told[], slots: number, cursor = 1, reset = false): ColumnsAnswer {
  const packed = (array: ArrayBufferView): string =>
    btoa(
      String.fromCharCode(...new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    );
  const zeros = new Float64Array(told.length);
  return {
    cursor,
    reset,
    slots,
    total: slots,
    slot: packed(Uint32Array.from(told, t => t.slot)),
    ids: btoa(
      told
        .map(t => t.id)
        .join('')
        .replace(/../g, hex => String.fromCharCode(parseInt(hex, 16)))
    ),
    state: packed(Uint8Array.from(told, t => t.state)),
    depth: packed(new Uint16Array(told.length)),
    worker: packed(Uint32Array.from(told, () => 3)),
    submitted: packed(Float64Array.from(told, t => t.submitted)),
    started: packed(zeros),
    finished: packed(zeros)
  };
}

function id(n: number): string {
  return n.toString(16).padStart(48, '0');
}

test('columns follow what the runtime tells of its slots', () => {
  const columns = new Columns();
  const all = [...Array(300).keys()].map(i => ({ slot: i, id: id(i), state: 0, submitted: i }));
  expect(columns.take(answer(all, 300, 5, true))).toBe(true);
  expect([columns.count, columns.cursor, columns.total]).toEqual([300, 5, 300]);
  expect(columns.indexOf(id(299))).toBe(299);
  expect(columns.indexOf('ab')).toBe(-1);
  const { shape, version } = columns;
  // Another state: no place changes.
  columns.take(answer([{ slot: 7, id: id(7), state: 3, submitted: 7 }], 300, 6));
  expect(columns.row(7)).toMatchObject({
    id: id(7),
    state: 'RUNNING',
    stage: 'running',
    worker: 3
  });
  expect([columns.shape, columns.version]).toEqual([shape, version + 1]);
  // Nothing new: nothing is drawn.
  expect(columns.take(answer([], 300, 6))).toBe(false);
  // A slot that another task has taken over.
  columns.take(answer([{ slot: 7, id: id(900), state: 0, submitted: 900 }], 300, 7));
  expect([columns.indexOf(id(7)), columns.indexOf(id(900))]).toEqual([-1, 7]);
  expect(columns.shape).toBe(shape + 1);
  // A new runtime's answer replaces everything.
  columns.take(answer(all.slice(0, 2), 2, 1, true));
  expect(columns.count).toBe(2);
});

test('slots beyond what the answer says are left alone', () => {
  const columns = new Columns();
  columns.take(
    answer([{ slot: 4_000_000_000, id: id(1), state: 0, submitted: 0 }], 1, 1, true)
  );
  expect(columns.count).toBe(1);
});

test('where nobody can be asked, the tasks that were heard of stand in', () => {
  const columns = new Columns();
  const worker = 'ab'.repeat(24) + '00000009';
  columns.replace(
    [task(id(1), 'FINISHED'), task(id(2), 'RUNNING', { deps: [id(1)], worker })],
    5
  );
  expect([columns.count, columns.total, columns.depth[1], columns.worker[1]]).toEqual([
    2, 5, 1, 9
  ]);
  expect([workerNumber(worker), workerNumber('')]).toEqual([9, 0]);
});

test('only runs of codes that changed are uploaded', () => {
  const before = new Uint8Array(1000);
  const after = before.slice();
  after[3] = after[10] = after[900] = 1;
  const runs: number[][] = [];
  forEachRun(before, after, (from, to) => runs.push([from, to]));
  expect(runs).toEqual([
    [3, 11],
    [900, 901]
  ]);
  forEachRun(after, after, () => runs.push([]));
  expect(runs.length).toBe(2);
});

// --- what matches --------------------------------------------------------------------------------
test('the filter means groups by name, cell, state, worker; and tasks by state, worker, id', () => {
  const groups = new Map(
    [group(1, { FINISHED: 2 }), group(2, { FAILED: 1 }), group(3, { RUNNING: 1 })].map(g => [
      g.id,
      { ...g, origin: `cell${g.id % 2}` }
    ])
  );
  const tasks = new Map([['t', task('t', 'RUNNING', { group: 3, worker: 'w' })]]);
  const found = (change: object): number[] | null => {
    const set = matchingGroups(groups, tasks, { ...NO_FILTER, ...change });
    return set && [...set];
  };
  expect(found({})).toBeNull();
  expect(found({ text: 'F2' })).toEqual([2]);
  expect(found({ state: 'failed' })).toEqual([2]);
  expect(found({ cell: 'cell1' })).toEqual([1, 3]);
  expect(found({ worker: 'w' })).toEqual([3]);
  expect(found({ group: 1, text: 'x' })).toEqual([]);
  expect(cellsOf(groups.values())).toEqual(['cell1', 'cell0']);

  const columns = new Columns();
  columns.replace([task(id(1), 'FINISHED'), task(id(2), 'RUNNING')], 2);
  const lit = (change: object): number[] | null => {
    const shown = matchingTasks(columns, group(1), { ...NO_FILTER, ...change });
    return shown && [...shown];
  };
  expect(lit({ text: 'f1' })).toBeNull(); // the function's own name
  expect(lit({ state: 'running' })).toEqual([0, 1]);
  expect(lit({ text: '00002' })).toEqual([0, 1]);
  expect(lit({ worker: 'aa00000009' })).toEqual([0, 0]);
});

// --- lines ---------------------------------------------------------------------------------------
test('two kinds of edges between the same functions are one line, which shows the size', () => {
  const edge = { source: 1, target: 2, count: 3, bytes: 32_000_000 };
  const [link] = links([
    { ...edge, kind: 'data' },
    { ...edge, bytes: 0, kind: 'spawn' }
  ]);
  expect(link).toEqual({ source: 1, target: 2, data: 3, spawn: 3, bytes: 32_000_000 });
  expect(linkLabel(link)).toBe('6 · 32 MB');
  expect(linkText(link)).toBe('3 results passed on · 32 MB · 3 tasks submitted from inside');
  expect(linkLabel({ ...link, data: 1, spawn: 0, bytes: 0 })).toBe('');
  expect(thickness(link)).toBeGreaterThan(thickness({ ...link, bytes: 50_000 }));
});

test('lines leave at the bottom and arrive at the top, around when they have to', () => {
  const at = (x: number, y: number) => ({ x, y, width: 100, height: 40 });
  const ends = (way: Float32Array): number[] => [...way.slice(0, 2), ...way.slice(-2)];
  expect(ends(wayBetween(at(0, 0), at(200, 100)))).toEqual([50, 40, 250, 100]);
  expect(ends(wayBetween(at(200, 100), at(0, 0)))).toEqual([250, 100, 50, 40]);
  const beside = wayBetween(at(0, 0), at(200, 0));
  expect(ends(beside)).toEqual([50, 40, 250, 40]);
  expect(middleOf(beside).y).toBeGreaterThan(40);
  const routed = wayBetween(at(0, 0), at(0, 200), [
    { x: 50, y: 40 },
    { x: 90, y: 100 },
    { x: 90, y: 140 },
    { x: 50, y: 200 }
  ]);
  expect(ends(routed)).toEqual([50, 40, 50, 200]);
  const { numbers: all, owner } = piecesOf([
    { points: routed, width: 2 },
    { points: loopOf(at(0, 0)), width: 1 }
  ]);
  expect(all.length).toBe(owner.length * PIECE);
  expect(all.every(Number.isFinite)).toBe(true);
  expect(new Set(owner)).toEqual(new Set([0, 1]));
});

test('the surroundings of a task: arguments above, results below, lines with sizes', () => {
  const found = {
    tasks: [task(id(1), 'FINISHED'), task(id(2), 'RUNNING'), task(id(3), 'PENDING_ARGS')],
    values: [{ id: 'v', name: 'put', state: 'READY', size: 5, place: 'memory' }],
    links: [
      { source: id(1), target: id(2), kind: 'data' as const, size: 8 },
      { source: 'v', target: id(2), kind: 'data' as const, size: 5 },
      { source: id(2), target: id(3), kind: 'data' as const, size: 0 },
      { source: 'unknown', target: id(3), kind: 'data' as const, size: 0 }
    ],
    whole: true
  };
  const laid = layNeighbours(found, id(2), SIZE, 400);
  const y = (name: string): number => laid.places.get(name)!.y;
  expect(y(id(1))).toBeLessThan(y(id(2)));
  expect(y('v')).toBeLessThan(y(id(2)));
  expect(y(id(3))).toBeGreaterThan(y(id(2)));
  expect(laid.links.map(l => l.size)).toEqual([8, 5, 0]);
});

test('arrow keys lead to the nearest node in their direction', () => {
  const nodes = new Map([
    [1, { x: 0, y: 0 }],
    [2, { x: 120, y: 0 }],
    [3, { x: 60, y: 80 }],
    [4, { x: 900, y: 160 }]
  ]);
  expect(nearestTowards(nodes, 1, 'ArrowRight')).toBe(2);
  expect(nearestTowards(nodes, 1, 'ArrowDown')).toBe(3);
  expect(nearestTowards(nodes, 3, 'ArrowDown')).toBe(4);
  expect(nearestTowards(nodes, 1, 'ArrowLeft')).toBeNull();
  expect(nearestTowards(nodes, 9, 'ArrowLeft')).toBeNull();
});

// --- cameras -------------------------------------------------------------------------------------
test('cameras: what is under the pointer stays there, all fits, nothing gets lost', () => {
  const view = { width: 400, height: 300 };
  const all = { x: -50, y: -20, width: 2000, height: 900 };
  const range = { least: 0.1, most: 4 };
  const start = fitted(all, view, { margin: 10, least: 0.01, most: 1 });
  expect(contains(visible(start, view, 0), all)).toBe(true);
  const at = { x: 120, y: 90 };
  const under = toWorld(start, at.x, at.y);
  const near = zoomedAt(start, 3, at, range);
  expect(toWorld(near, at.x, at.y).x).toBeCloseTo(under.x);
  expect(toWorld(near, at.x, at.y).y).toBeCloseTo(under.y);
  expect(zoomedAt(start, 1000, at, range).zoom).toBe(4);
  expect(toWorld(panned(near, 40, 0), 0, 0).x).toBeCloseTo(toWorld(near, 40, 0).x);
  const lost = bounded(panned(near, 1e6, -1e6), all, view);
  expect(overlaps(visible(lost, view, 0), all)).toBe(true);
  const box = { x: 1900, y: 800, width: 40, height: 40 };
  expect(contains(visible(revealing(near, box, view, 8), view, 0), box)).toBe(true);
  expect(revealing(start, box, view, 0)).toEqual(start); // in view already
  const small = fitted({ x: 0, y: 0, width: 100, height: 20 }, view, {
    margin: 10,
    least: 0.1,
    most: 1,
    top: true
  });
  expect(small).toEqual({ x: -150, y: -10, zoom: 1 });
});
