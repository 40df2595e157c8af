/** Lays out the surroundings of one task. Pure. */
import type { ArgumentView, LinkView } from '../../answers';
import type { TaskView } from '../../events';
import { layered, type LayoutOptions, type Point } from '../layout';
import type { Box } from './camera';

/** What of the answer the layout depends on. */
interface Neighbours {
  tasks: ReadonlyArray<Pick<TaskView, 'id'>>;
  values: ReadonlyArray<Pick<ArgumentView, 'id'>>;
  links: readonly LinkView[];
}

export interface Surroundings {
  places: ReadonlyMap<string, Point>;
  boxes: ReadonlyMap<string, Box>;
  links: Array<LinkView & { route: Point[] | undefined }>;
  width: number;
  height: number;
}

/** Above: what it was made of; below: what is made of it. */
export function layNeighbours(
  found: Neighbours,
  centre: string,
  size: Omit<LayoutOptions, 'width'>,
  width: number
): Surroundings {
  const names = [...found.values.map(v => v.id), ...found.tasks.map(t => t.id)];
  const order = new Map(names.map((name, i) => [name, i]));
  const known = found.links.filter(l => order.has(l.source) && order.has(l.target));
  const edges = known.map(link => ({
    source: order.get(link.source)!,
    target: order.get(link.target)!,
    link
  }));
  const laid = layered([...order.values()], edges, { ...size, width });
  const places = new Map<string, Point>();
  const boxes = new Map<string, Box>();
  names.forEach((name, i) => {
    const place = laid.nodes.get(i)!;
    places.set(name, place);
    boxes.set(name, { ...place, width: size.nodeWidth, height: size.nodeHeight });
  });
  if (!order.has(centre)) {
    return { places, boxes, links: [], width: laid.width, height: laid.height };
  }
  const routes = new Map(laid.edges.map(({ edge, points }) => [edge.link, points]));
  return {
    places,
    boxes,
    links: known.map(link => ({ ...link, route: routes.get(link) })),
    width: laid.width,
    height: laid.height
  };
}
