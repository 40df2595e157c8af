/** Which node an arrow key leads to. Pure. */
import type { Point } from '../layout';

/** The nearest node in the direction of the key; ahead counts more than aside. Null: none there. */
export function nearestTowards(
  nodes: ReadonlyMap<number, Point>,
  from: number,
  key: string
): number | null {
  const here = nodes.get(from);
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
    key
  ];
  if (!here || !step) {
    return null;
  }
  let found: number | null = null;
  let least = Infinity;
  for (const [id, place] of nodes) {
    const [dx, dy] = [place.x - here.x, place.y - here.y];
    const ahead = dx * step[0] + dy * step[1];
    const aside = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
    const far = ahead + 2 * aside;
    if (id !== from && ahead > 1 && aside <= 2 * ahead + 1 && far < least) {
      found = id;
      least = far;
    }
  }
  // Rows are wide: what is far aside is better than nothing.
  return found ?? (step[1] === 0 ? null : nearestRow(nodes, from, here, step[1]));
}

function nearestRow(
  nodes: ReadonlyMap<number, Point>,
  from: number,
  here: Point,
  direction: number
): number | null {
  let found: number | null = null;
  let least = Infinity;
  for (const [id, place] of nodes) {
    const ahead = (place.y - here.y) * direction;
    const far = ahead + Math.abs(place.x - here.x);
    if (id !== from && ahead > 1 && far < least) {
      found = id;
      least = far;
    }
  }
  return found;
}
