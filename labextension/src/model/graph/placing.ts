/**
 * Keeps each function where it was first shown. New ones find a free place below what they depend on;
 * nothing else moves until somebody asks for a tidy picture or the view gets another width.
 */
import type { Layout, LayoutEdge, LayoutOptions, Point } from '../layout';
import { overlaps, type Box } from './camera';

export class Placing {
  private places = new Map<number, Point>();
  /** Ways of long edges around nodes, from the last full layout, by "source>target". */
  private routes = new Map<string, Point[]>();
  /** Where the last node without neighbours was put since the last full layout. */
  private shelf: Point | null = null;

  constructor(readonly options: LayoutOptions) {}

  get nodes(): ReadonlyMap<number, Point> {
    return this.places;
  }

  /** Takes over a full layout. */
  adopt(layout: Layout<LayoutEdge>): void {
    this.places = new Map(layout.nodes);
    this.shelf = null;
    this.routes = new Map(
      layout.edges.map(({ edge, points }) => [`${edge.source}>${edge.target}`, points])
    );
  }

  /** The way of an edge in the last full layout; undefined for later ones. */
  route(source: number, target: number): Point[] | undefined {
    return this.routes.get(`${source}>${target}`);
  }

  /**
   * Gives new nodes a place and forgets those that are gone. True if anything changed.
   * Nodes are taken in the order of their numbers, which is the order in which they came to be.
   */
  update(ids: Iterable<number>, edges: readonly LayoutEdge[]): boolean {
    const known = new Set(ids);
    let changed = false;
    for (const id of [...this.places.keys()]) {
      if (!known.has(id)) {
        this.places.delete(id);
        changed = true;
      }
    }
    const fresh = [...known].filter(id => !this.places.has(id)).sort((a, b) => a - b);
    if (fresh.length === 0) {
      return changed;
    }
    const into = new Map<number, number[]>();
    const out = new Map<number, number[]>();
    for (const { source, target } of edges) {
      if (source !== target && known.has(source) && known.has(target)) {
        push(into, target, source);
        push(out, source, target);
      }
    }
    for (const id of fresh) {
      this.places.set(id, this.placeOf(into.get(id) ?? [], out.get(id) ?? []));
    }
    return true;
  }

  /** What all nodes take together. */
  bounds(): Box {
    const { nodeWidth, nodeHeight } = this.options;
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const { x, y } of this.places.values()) {
      left = Math.min(left, x);
      top = Math.min(top, y);
      right = Math.max(right, x + nodeWidth);
      bottom = Math.max(bottom, y + nodeHeight);
    }
    return this.places.size
      ? { x: left, y: top, width: right - left, height: bottom - top }
      : { x: 0, y: 0, width: 0, height: 0 };
  }

  private placeOf(sources: number[], targets: number[]): Point {
    const { nodeHeight, gapY } = this.options;
    const above = this.known(sources);
    if (above.length) {
      const y = Math.max(...above.map(p => p.y)) + nodeHeight + gapY;
      return this.freeNear(mean(above.map(p => p.x)), y);
    }
    const below = this.known(targets);
    if (below.length) {
      const y = Math.min(...below.map(p => p.y)) - nodeHeight - gapY;
      return this.freeNear(mean(below.map(p => p.x)), y);
    }
    return this.freeShelf();
  }

  private known(ids: number[]): Point[] {
    return ids.map(id => this.places.get(id)).filter((p): p is Point => p !== undefined);
  }

  /** The free place in a row that is nearest to x. */
  private freeNear(x: number, y: number): Point {
    const step = (this.options.nodeWidth + this.options.gapX) / 2;
    for (let away = 0; ; away++) {
      for (const sign of away === 0 ? [1] : [1, -1]) {
        const at = { x: x + sign * away * step, y };
        if (at.x >= 0 && this.isFree(at)) {
          return at;
        }
      }
    }
  }

  /** The next place for what depends on nothing: in the row of the last such, or in a row below all. */
  private freeShelf(): Point {
    const { nodeWidth, nodeHeight, gapX, gapY, gapParts = gapY, width } = this.options;
    if (this.shelf !== null) {
      for (let x = this.shelf.x; x + nodeWidth <= width; x += nodeWidth + gapX) {
        if (this.isFree({ x, y: this.shelf.y })) {
          this.shelf = { x, y: this.shelf.y };
          return this.shelf;
        }
      }
    }
    const all = this.bounds();
    const y = this.places.size ? all.y + all.height + gapParts : 0;
    this.shelf = { x: 0, y };
    return this.isFree(this.shelf) ? this.shelf : this.freeNear(0, y + nodeHeight);
  }

  private isFree({ x, y }: Point): boolean {
    const { nodeWidth, nodeHeight, gapX, gapY } = this.options;
    const box: Box = {
      x: x - gapX / 2,
      y: y - gapY / 4,
      width: nodeWidth + gapX - 1,
      height: nodeHeight + gapY / 2
    };
    for (const p of this.places.values()) {
      if (overlaps(box, { x: p.x, y: p.y, width: nodeWidth, height: nodeHeight })) {
        return false;
      }
    }
    return true;
  }
}

function push(map: Map<number, number[]>, key: number, value: number): void {
  const list = map.get(key);
  if (list) {
    list.push(value);
  } else {
    map.set(key, [value]);
  }
}

function mean(values: number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
