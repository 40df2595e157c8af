/** Where the functions stand: laid out once, kept, and added to. */
import { useEffect, useMemo, useRef, useState } from 'react';
import type { GroupView } from '../../events';
import type { Box } from '../../model/graph/camera';
import type { Link } from '../../model/graph/links';
import { LayoutWorker } from '../../model/graph/layoutworker';
import { Placing } from '../../model/graph/placing';
import type { LayoutOptions, Point } from '../../model/layout';

export const NODE_SIZE = { nodeWidth: 144, nodeHeight: 48, gapX: 22, gapY: 40, gapParts: 18 };

export interface Places {
  nodes: ReadonlyMap<number, Point>;
  route: (source: number, target: number) => Point[] | undefined;
  contents: Box;
  /** Who laid it out, for tests. */
  how: LayoutWorker['how'];
}

const CLOSER = 0.85; // nodes are drawn a little smaller rather than in fewer columns
const LOOPS = 24; // room at the right for the arcs of functions that call themselves

export function usePlaces(
  groups: ReadonlyMap<number, GroupView>,
  links: readonly Link[],
  width: number,
  tidy: number
): Places {
  const worker = useMemo(() => new LayoutWorker(), []);
  useEffect(() => () => worker.dispose(), [worker]);
  const columns = columnsIn(width);
  const [adopted, setAdopted] = useState(0);
  const placing = useRef<{ columns: number; tidy: number; made: Placing } | null>(null);
  // The layout depends on which nodes and lines there are, not on counts, which change all the time.
  const shape = [...groups.keys()].join() + links.map(l => `;${l.source}>${l.target}`).join('');

  // What changes the places is done while rendering, so that no node is ever drawn without one.
  const places = useMemo((): Places => {
    const { nodeWidth, gapX } = NODE_SIZE;
    const options: LayoutOptions = {
      ...NODE_SIZE,
      width: columns * (nodeWidth + gapX) - gapX
    };
    const ids = [...groups.keys()];
    let now = placing.current;
    if (now?.columns !== columns || now.tidy !== tidy) {
      const made = new Placing(options);
      now = { columns, tidy, made };
      placing.current = now;
      const job = {
        ids,
        edges: links.map(({ source, target }) => ({ source, target })),
        options
      };
      const laid = worker.quick(job);
      if (laid !== null) {
        made.adopt(laid);
      } else {
        // Something to look at until the worker has an answer.
        made.update(ids, links);
        void worker.lay(job).then(answer => {
          made.adopt(answer);
          if (placing.current?.made === made) {
            setAdopted(n => n + 1);
          }
        });
      }
    }
    const { made } = now;
    made.update(ids, links);
    const bounds = made.bounds();
    return {
      nodes: new Map(made.nodes),
      route: (source, target) => made.route(source, target),
      how: worker.how,
      contents: { ...bounds, width: bounds.width + (links.some(isLoop) ? LOOPS : 0) }
    };
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape, columns, tidy, adopted, worker]);
  return places;
}

function isLoop(link: Link): boolean {
  return link.source === link.target;
}

function columnsIn(width: number): number {
  const column = (NODE_SIZE.nodeWidth + NODE_SIZE.gapX) * CLOSER;
  return Math.max(1, Math.floor((Math.max(width, 300) - 32 + NODE_SIZE.gapX) / column));
}
