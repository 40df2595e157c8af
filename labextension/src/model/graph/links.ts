/** The edges between functions: one line for each pair, with what flowed along it. Pure. */
import type { EdgeView } from '../../events';
import { bytes, count } from '../../format';
import { trans } from '../../i18n';
import type { Box } from './camera';
import type { Point } from '../layout';

export interface Link {
  source: number;
  target: number;
  /** Results that were passed on. */
  data: number;
  /** Tasks that were submitted from inside. */
  spawn: number;
  /** How much the results are, as far as that is known. */
  bytes: number;
}

/** Data and spawn edges between the same two functions, as one line. */
export function links(edges: Iterable<EdgeView>): Link[] {
  const found = new Map<string, Link>();
  for (const edge of edges) {
    const key = linkKey(edge);
    let link = found.get(key);
    if (link === undefined) {
      link = { source: edge.source, target: edge.target, data: 0, spawn: 0, bytes: 0 };
      found.set(key, link);
    }
    link[edge.kind] += edge.count;
    link.bytes += edge.bytes;
  }
  return [...found.values()].sort((a, b) => a.source - b.source || a.target - b.target);
}

export function linkKey(edge: { source: number; target: number }): string {
  return `${edge.source}>${edge.target}`;
}

/** Pixels: the size of the data decides, the number of results where the size is not known. */
export function thickness(link: Link): number {
  const size =
    link.bytes > 0 ? Math.log10(link.bytes / 1000) / 2 : Math.log10(link.data || 1) / 2;
  return 1.25 + Math.min(4, Math.max(0, size));
}

/** What stands on the line: "8 · 64 MB"; "" where one small result needs no words. */
export function linkLabel(link: Link): string {
  const all = link.data + link.spawn;
  if (link.bytes >= 1000) {
    return all > 1 ? `${count(all)} · ${bytes(link.bytes)}` : bytes(link.bytes);
  }
  return all > 1 ? count(all) : '';
}

/** The line in words, for tooltips and tables. */
export function linkText(link: Link): string {
  const parts: string[] = [];
  if (link.data > 0) {
    parts.push(trans._n('%1 result passed on', '%1 results passed on', link.data));
  }
  if (link.bytes > 0) {
    parts.push(bytes(link.bytes));
  }
  if (link.spawn > 0) {
    parts.push(
      trans._n('%1 task submitted from inside', '%1 tasks submitted from inside', link.spawn)
    );
  }
  return parts.join(' · ');
}

const LOOP = 15; // how far an arc stands off a node
const SAG = 26; // how far a line within a row hangs below it
const PIECES = 14; // straight pieces that a curve is drawn with

/**
 * The way of a line from one box to another, x and y in turns. `route` leads it around other boxes:
 * each two neighbouring points of it are joined by a curve that leaves and arrives upright.
 */
export function wayBetween(source: Box, target: Box, route?: readonly Point[]): Float32Array {
  if (route !== undefined && route.length >= 2) {
    const way: number[] = [];
    for (let i = 1; i < route.length; i++) {
      const [a, b] = [route[i - 1], route[i]];
      const bend = (b.y - a.y) / 2;
      addCurve(way, a, { x: a.x, y: a.y + bend }, { x: b.x, y: b.y - bend }, b);
    }
    return Float32Array.from(way);
  }
  const way: number[] = [];
  const bottom = (box: Box): Point => ({ x: box.x + box.width / 2, y: box.y + box.height });
  const top = (box: Box): Point => ({ x: box.x + box.width / 2, y: box.y });
  let a = bottom(source);
  let b = top(target);
  let bend = (b.y - a.y) / 2;
  if (b.y < a.y) {
    b = bottom(target);
    if (source.y >= b.y) {
      a = top(source); // upwards: it closes a cycle
      bend = (b.y - a.y) / 2;
    } else {
      const low = Math.max(a.y, b.y) + SAG; // within a row: below both
      addCurve(way, a, { x: a.x, y: low }, { x: b.x, y: low }, b);
      return Float32Array.from(way);
    }
  }
  addCurve(way, a, { x: a.x, y: a.y + bend }, { x: b.x, y: b.y - bend }, b);
  return Float32Array.from(way);
}

function addCurve(way: number[], a: Point, b: Point, c: Point, d: Point): void {
  for (let piece = way.length ? 1 : 0; piece <= PIECES; piece++) {
    const t = piece / PIECES;
    const u = 1 - t;
    const [p, q, r, s] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
    way.push(p * a.x + q * b.x + r * c.x + s * d.x, p * a.y + q * b.y + r * c.y + s * d.y);
  }
}

/** The arc of a function that submits itself, to the right of its box. */
export function loopOf(box: Box): Float32Array {
  const way = new Float32Array((PIECES + 1) * 2);
  const x = box.x + box.width;
  const y = box.y + box.height / 2;
  for (let i = 0; i <= PIECES; i++) {
    const angle = (i / PIECES) * Math.PI;
    way[2 * i] = x + LOOP * Math.sin(angle);
    way[2 * i + 1] = y - 10 * Math.cos(angle);
  }
  return way;
}

/** A line to draw. */
export interface Way {
  points: Float32Array;
  width: number;
}

/** All lines cut into pieces as the painter wants them, and whose each piece is. */
export interface Pieces {
  numbers: Float32Array;
  owner: Uint32Array;
}

/** Numbers of a piece: from x, y, to x, y, width at both ends, way along the line so far. */
export const PIECE = 7;
const HEAD = 7; // length of an arrow's head

export function piecesOf(ways: readonly Way[]): Pieces {
  const count = ways.reduce((sum, way) => sum + Math.max(0, way.points.length / 2 - 1) + 1, 0);
  const numbers = new Float32Array(count * PIECE);
  const owner = new Uint32Array(count);
  let at = 0;
  const add = (piece: readonly number[], whose: number): void => {
    numbers.set(piece, at * PIECE);
    owner[at++] = whose;
  };
  ways.forEach(({ points, width }, whose) => {
    let along = 0;
    for (let i = 2; i < points.length; i += 2) {
      const [x0, y0, x1, y1] = points.subarray(i - 2, i + 2);
      add([x0, y0, x1, y1, width, width, along], whose);
      along += Math.hypot(x1 - x0, y1 - y0);
    }
    const end = points.length;
    const [x0, y0, x1, y1] = points.subarray(end - 4, end);
    const length = Math.hypot(x1 - x0, y1 - y0) || 1;
    const back = { x: x1 - ((x1 - x0) / length) * HEAD, y: y1 - ((y1 - y0) / length) * HEAD };
    add([back.x, back.y, x1, y1, HEAD + width, 0, 0], whose);
  });
  return { numbers, owner };
}

/** Where the label of an arc stands: on it, it would hide it; beside it, the next node is. */
export function aboveLoop(points: Float32Array): Point {
  const { x, y } = middleOf(points);
  return { x: x - 3, y: y - 18 };
}

/** The middle of a line, where its label stands. */
export function middleOf(points: Float32Array): Point {
  const at = 2 * Math.floor(points.length / 4);
  return { x: points[at], y: points[at + 1] };
}
