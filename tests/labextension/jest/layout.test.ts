import { curve, layered, type LayoutEdge, type LayoutOptions } from '@fanlight/model/layout';

const OPTIONS: LayoutOptions = {
  nodeWidth: 100,
  nodeHeight: 40,
  gapX: 20,
  gapY: 30,
  width: 340
};

function edges(...pairs: Array<[number, number]>): LayoutEdge[] {
  return pairs.map(([source, target]) => ({ source, target }));
}

function overlaps(nodes: Map<number, { x: number; y: number }>): boolean {
  const all = [...nodes.values()];
  return all.some((a, i) =>
    all
      .slice(i + 1)
      .some(
        b => Math.abs(a.x - b.x) < OPTIONS.nodeWidth && Math.abs(a.y - b.y) < OPTIONS.nodeHeight
      )
  );
}

/** A random graph that is the same in every run. */
function random(seed: number, nodes: number, count: number): LayoutEdge[] {
  let state = seed;
  const next = (n: number): number => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state % n;
  };
  return Array.from({ length: count }, () => ({ source: next(nodes), target: next(nodes) }));
}

test('targets stand below their sources', () => {
  const { nodes } = layered([1, 2, 3, 4], edges([1, 2], [2, 3], [1, 3], [3, 4]), OPTIONS);
  const y = (id: number): number => nodes.get(id)!.y;
  expect(y(1)).toBeLessThan(y(2));
  expect(y(2)).toBeLessThan(y(3));
  expect(y(3)).toBeLessThan(y(4));
});

test('nothing overlaps and every edge ends at its nodes, cycles included', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const ids = Array.from({ length: 12 }, (_, i) => i);
    const wanted = random(seed, 12, 5 + (seed % 15));
    const { nodes, edges: laid, width, height } = layered(ids, wanted, OPTIONS);
    expect(nodes.size).toBe(12);
    expect(overlaps(nodes)).toBe(false);
    for (const { x, y } of nodes.values()) {
      expect(x).toBeGreaterThanOrEqual(-1e-6);
      expect(x + OPTIONS.nodeWidth).toBeLessThanOrEqual(width + 1e-6);
      expect(y + OPTIONS.nodeHeight).toBeLessThanOrEqual(height + 1e-6);
    }
    expect(laid).toHaveLength(wanted.filter(e => e.source !== e.target).length);
    for (const { edge, points } of laid) {
      const centre = (id: number): number => nodes.get(id)!.x + OPTIONS.nodeWidth / 2;
      expect(points[0].x).toBeCloseTo(centre(edge.source));
      expect(points[points.length - 1].x).toBeCloseTo(centre(edge.target));
    }
  }
});

test('the same graph gives the same picture, whatever the order of the nodes', () => {
  const wanted = edges([1, 3], [2, 3], [3, 4]);
  const a = layered([1, 2, 3, 4], wanted, OPTIONS);
  const b = layered([4, 2, 1, 3], wanted, OPTIONS);
  expect(b.nodes).toEqual(a.nodes);
});

test('new work moves nothing that is there', () => {
  const before = layered([1, 2, 3], edges([1, 2]), OPTIONS);
  const after = layered([1, 2, 3, 4, 5, 6], edges([1, 2], [4, 5], [5, 6]), OPTIONS);
  for (const [id, place] of before.nodes) {
    expect(after.nodes.get(id)).toEqual(place);
  }
});

test('parts fill columns up to the width', () => {
  const { nodes, width } = layered([1, 2, 3, 4], [], OPTIONS);
  expect([1, 2, 3].map(id => nodes.get(id)!.y)).toEqual([0, 0, 0]);
  expect(nodes.get(4)!.y).toBeGreaterThan(0);
  expect(width).toBeLessThanOrEqual(OPTIONS.width);
});

test('a part that is wider than the room is still laid out', () => {
  const wide = edges([0, 1], [0, 2], [0, 3], [0, 4], [0, 5]);
  const { nodes, width } = layered([0, 1, 2, 3, 4, 5], wide, OPTIONS);
  expect(width).toBeGreaterThan(OPTIONS.width);
  expect(overlaps(nodes)).toBe(false);
});

test('crossings are avoided', () => {
  const { nodes } = layered(
    [1, 2, 3, 4],
    edges([1, 4], [2, 3], [1, 3], [2, 4], [1, 4]),
    OPTIONS
  );
  expect(nodes.size).toBe(4);
  const crossed = layered(
    [1, 2, 3, 4, 5],
    edges([1, 4], [2, 3], [5, 3], [5, 4]),
    OPTIONS
  ).nodes;
  const x = (id: number): number => crossed.get(id)!.x;
  expect(Math.sign(x(1) - x(2))).toBe(Math.sign(x(4) - x(3)));
});

test('edges to unknown nodes and to itself are left out', () => {
  const { edges: laid } = layered([1, 2], edges([1, 1], [1, 9], [1, 2]), OPTIONS);
  expect(laid).toHaveLength(1);
});

test('ten thousand nodes in one line are no problem for the stack', () => {
  const ids = Array.from({ length: 10_000 }, (_, i) => i);
  const chain = ids.slice(1).map(i => ({ source: i - 1, target: i }));
  expect(layered(ids, chain, OPTIONS).nodes.get(9_999)!.y).toBe(9_999 * 70);
});

test('curves', () => {
  expect(curve([{ x: 0, y: 0 }])).toBe('');
  expect(
    curve([
      { x: 0, y: 0 },
      { x: 10, y: 20 }
    ])
  ).toBe('M0.0 0.0C0.0 10.0 10.0 10.0 10.0 20.0');
});
