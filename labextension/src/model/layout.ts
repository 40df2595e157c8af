/**
 * A layered layout, top to bottom, small and deterministic.
 *
 * Connected parts of the graph are laid out on their own and packed in columns in the order of their
 * smallest node, so new work appears after old work and nothing that is already there moves unless
 * an older part changes. Within a part: cycles are opened in the order of the nodes, layers are
 * longest paths, long edges get a bend in every layer they cross, and a few barycentre sweeps
 * (stable, ties by age) reduce crossings.
 *
 * All of it stands in one function that uses nothing around it, since its text is also the program of
 * a web worker (`graph/layoutworker.ts`).
 */

export interface LayoutEdge {
  source: number;
  target: number;
}

export interface LayoutOptions {
  nodeWidth: number;
  nodeHeight: number;
  gapX: number;
  gapY: number;
  /** Between parts, downwards; gapY unless given. */
  gapParts?: number;
  /** Parts are packed in columns up to this width. */
  width: number;
}

export interface Point {
  x: number;
  y: number;
}

export interface Layout<E extends LayoutEdge> {
  /** Top left corners. */
  nodes: Map<number, Point>;
  /** From the bottom of the source to the top of the target. */
  edges: Array<{ edge: E; points: Point[] }>;
  width: number;
  height: number;
}

interface Slot {
  key: string;
  node: number | null; // null: a bend of a long edge
  width: number;
  x: number;
}

export type Layered = <E extends LayoutEdge>(
  ids: readonly number[],
  edges: readonly E[],
  options: LayoutOptions
) => Layout<E>;

/** Makes the layout function. Whatever it needs has to be inside. */
export function layoutProgram(): Layered {
  const SWEEPS = 4;
  const BEND_WIDTH = 10;

  function layered<E extends LayoutEdge>(
    ids: readonly number[],
    edges: readonly E[],
    options: LayoutOptions
  ): Layout<E> {
    const known = new Set(ids);
    const real = edges.filter(
      e => e.source !== e.target && known.has(e.source) && known.has(e.target)
    );
    const result: Layout<E> = { nodes: new Map(), edges: [], width: 0, height: 0 };
    // Columns as wide as a node; each part takes the highest place that is free for all of it.
    const pitch = options.nodeWidth + options.gapX;
    const columns = Math.max(1, Math.floor((options.width + options.gapX) / pitch));
    const tops: number[] = new Array<number>(columns).fill(0);
    for (const part of parts(
      [...known].sort((a, b) => a - b),
      real
    )) {
      const laid = layPart(part.ids, part.edges, options);
      const span = Math.ceil((laid.width + options.gapX) / pitch - 1e-6);
      while (tops.length < span) {
        tops.push(0); // wider than the room: the view scales or scrolls
      }
      let first = 0;
      let top = Infinity;
      for (let column = 0; column + span <= tops.length; column++) {
        const free = Math.max(...tops.slice(column, column + span));
        if (free < top) {
          top = free;
          first = column;
        }
      }
      const x = first * pitch + (span * pitch - options.gapX - laid.width) / 2;
      for (const [id, p] of laid.nodes) {
        result.nodes.set(id, { x: p.x + x, y: p.y + top });
      }
      for (const { edge, points } of laid.edges) {
        result.edges.push({ edge, points: points.map(p => ({ x: p.x + x, y: p.y + top })) });
      }
      tops.fill(top + laid.height + (options.gapParts ?? options.gapY), first, first + span);
      result.width = Math.max(result.width, x + laid.width);
      result.height = Math.max(result.height, top + laid.height);
    }
    return result;
  }

  /** Connected parts, each with its ids in order; parts in the order of their smallest id. */
  function parts<E extends LayoutEdge>(
    ids: readonly number[],
    edges: readonly E[]
  ): Array<{ ids: number[]; edges: E[] }> {
    const root = new Map<number, number>(ids.map(id => [id, id]));
    const find = (id: number): number => {
      let r = id;
      while (root.get(r) !== r) {
        r = root.get(r)!;
      }
      root.set(id, r);
      return r;
    };
    for (const { source, target } of edges) {
      const a = find(source);
      const b = find(target);
      root.set(Math.max(a, b), Math.min(a, b));
    }
    const found = new Map<number, { ids: number[]; edges: E[] }>();
    for (const id of ids) {
      const r = find(id);
      if (!found.has(r)) {
        found.set(r, { ids: [], edges: [] });
      }
      found.get(r)!.ids.push(id);
    }
    for (const edge of edges) {
      found.get(find(edge.source))!.edges.push(edge);
    }
    return [...found.values()];
  }

  function layPart<E extends LayoutEdge>(
    ids: readonly number[],
    edges: readonly E[],
    options: LayoutOptions
  ): Layout<E> {
    const { nodeWidth, nodeHeight, gapX, gapY } = options;
    const layerOf = layers(ids, edges);
    const depth = Math.max(0, ...layerOf.values()) + 1;
    const rows: Slot[][] = Array.from({ length: depth }, () => []);
    for (const id of ids) {
      rows[layerOf.get(id)!].push({ key: `n${id}`, node: id, width: nodeWidth, x: 0 });
    }
    // Long edges go through bends, so that they do not run behind nodes.
    const chains: Array<{ edge: E; keys: string[] }> = [];
    edges.forEach((edge, index) => {
      const from = layerOf.get(edge.source)!;
      const to = layerOf.get(edge.target)!;
      const step = Math.sign(to - from);
      const keys = [`n${edge.source}`];
      for (let layer = from + step; step !== 0 && layer !== to; layer += step) {
        const key = `b${index}.${layer}`;
        rows[layer].push({ key, node: null, width: BEND_WIDTH, x: 0 });
        keys.push(key);
      }
      keys.push(`n${edge.target}`);
      chains.push({ edge, keys });
    });
    order(rows, chains);
    const widths = rows.map(row => row.reduce((w, s) => w + s.width + gapX, -gapX));
    const width = Math.max(0, ...widths);
    const slots = new Map<string, { slot: Slot; layer: number }>();
    rows.forEach((row, layer) => {
      let x = (width - widths[layer]) / 2;
      for (const slot of row) {
        slot.x = x;
        x += slot.width + gapX;
        slots.set(slot.key, { slot, layer });
      }
    });
    const nodes = new Map<number, Point>();
    for (const { slot, layer } of slots.values()) {
      if (slot.node !== null) {
        nodes.set(slot.node, { x: slot.x, y: layer * (nodeHeight + gapY) });
      }
    }
    const placed = chains.map(({ edge, keys }) => {
      const up = layerOf.get(edge.target)! < layerOf.get(edge.source)!;
      const points: Point[] = [];
      keys.forEach((key, i) => {
        const { slot, layer } = slots.get(key)!;
        const x = slot.x + slot.width / 2;
        const top = layer * (nodeHeight + gapY);
        const atStart = i === 0;
        const atEnd = i === keys.length - 1;
        if (!atStart) {
          points.push({ x, y: up ? top + nodeHeight : top });
        }
        if (!atEnd) {
          points.push({ x, y: up ? top : top + nodeHeight });
        }
      });
      return { edge, points };
    });
    return { nodes, edges: placed, width, height: depth * (nodeHeight + gapY) - gapY };
  }

  /** Longest paths from the sources; edges that close a cycle are left out. */
  function layers<E extends LayoutEdge>(ids: readonly number[], edges: readonly E[]) {
    const out = new Map<number, number[]>(ids.map(id => [id, []]));
    for (const { source, target } of edges) {
      out.get(source)!.push(target);
    }
    const entered = new Map<number, number>(ids.map(id => [id, 0]));
    for (const { target } of edges) {
      entered.set(target, entered.get(target)! + 1);
    }
    // Depth first, from nodes without predecessors, then in order of age; reversed finish order is
    // a topological order of the graph without the edges that go back.
    const starts = [...ids].sort((a, b) => entered.get(a)! - entered.get(b)! || a - b);
    const state = new Map<number, 'open' | 'done'>();
    const finished: number[] = [];
    const back = new Set<string>();
    for (const start of starts) {
      const stack: Array<{ id: number; next: number }> = [];
      if (!state.has(start)) {
        state.set(start, 'open');
        stack.push({ id: start, next: 0 });
      }
      while (stack.length) {
        const top = stack[stack.length - 1];
        const targets = out.get(top.id)!;
        if (top.next === targets.length) {
          state.set(top.id, 'done');
          finished.push(top.id);
          stack.pop();
          continue;
        }
        const target = targets[top.next++];
        if (state.get(target) === 'open') {
          back.add(`${top.id}>${target}`);
        } else if (!state.has(target)) {
          state.set(target, 'open');
          stack.push({ id: target, next: 0 });
        }
      }
    }
    const layer = new Map<number, number>(ids.map(id => [id, 0]));
    for (const id of finished.reverse()) {
      for (const target of out.get(id)!) {
        if (!back.has(`${id}>${target}`)) {
          layer.set(target, Math.max(layer.get(target)!, layer.get(id)! + 1));
        }
      }
    }
    return layer;
  }

  /** Barycentre sweeps, down and up; stable sorts keep what does not matter where it was. */
  function order<E>(rows: Slot[][], chains: Array<{ edge: E; keys: string[] }>): void {
    const above = new Map<string, string[]>();
    const below = new Map<string, string[]>();
    const layer = new Map<string, number>();
    rows.forEach((row, i) => row.forEach(slot => layer.set(slot.key, i)));
    const link = (map: Map<string, string[]>, key: string, other: string): void => {
      const list = map.get(key);
      if (list) {
        list.push(other);
      } else {
        map.set(key, [other]);
      }
    };
    for (const { keys } of chains) {
      for (let i = 1; i < keys.length; i++) {
        const down = layer.get(keys[i - 1])! < layer.get(keys[i])!;
        const [upper, lower] = down ? [keys[i - 1], keys[i]] : [keys[i], keys[i - 1]];
        link(below, upper, lower);
        link(above, lower, upper);
      }
    }
    for (let sweep = 0; sweep < SWEEPS; sweep++) {
      const down = sweep % 2 === 0;
      const neighbours = down ? above : below;
      const sequence = down ? rows.slice(1) : rows.slice(0, -1).reverse();
      const place = new Map<string, number>();
      rows.forEach(row =>
        row.forEach((slot, i) =>
          place.set(slot.key, row.length > 1 ? i / (row.length - 1) : 0.5)
        )
      );
      for (const row of sequence) {
        const weight = new Map<string, number>();
        for (const slot of row) {
          const near = neighbours.get(slot.key);
          weight.set(
            slot.key,
            near
              ? near.reduce((sum, key) => sum + place.get(key)!, 0) / near.length
              : place.get(slot.key)!
          );
        }
        row.sort((a, b) => weight.get(a.key)! - weight.get(b.key)!);
        row.forEach((slot, i) =>
          place.set(slot.key, row.length > 1 ? i / (row.length - 1) : 0.5)
        );
      }
    }
  }

  return layered;
}

export const layered: Layered = layoutProgram();

/** A smooth path through points that alternate between leaving a node and reaching the next. */
export function curve(points: readonly Point[]): string {
  if (points.length < 2) {
    return '';
  }
  const r = (n: number): string => n.toFixed(1);
  let path = `M${r(points[0].x)} ${r(points[0].y)}`;
  for (let i = 1; i < points.length; i++) {
    const a = points[i - 1];
    const b = points[i];
    const bend = (b.y - a.y) / 2;
    path += `C${r(a.x)} ${r(a.y + bend)} ${r(b.x)} ${r(b.y - bend)} ${r(b.x)} ${r(b.y)}`;
  }
  return path;
}
