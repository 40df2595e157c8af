/** The first level: one node for each function, with its progress inside, and what flows between. */
import {
  memo,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
  type KeyboardEvent,
  type ReactNode
} from 'react';
import type { GroupView } from '../../events';
import { count } from '../../format';
import { trans } from '../../i18n';
import { overlaps, type Box } from '../../model/graph/camera';
import { nearestTowards } from '../../model/graph/directions';
import {
  linkKey,
  linkLabel,
  linkText,
  loopOf,
  aboveLoop,
  middleOf,
  piecesOf,
  thickness,
  wayBetween,
  type Link
} from '../../model/graph/links';
import { stageCounts, total } from '../../model/selectors';
import { StackedBar, countsText } from '../../views/parts';
import { Board, Foot, type Region } from './board';
import { LINE_BUSY, LINE_DASHED, LINE_DIMMED } from './painter';
import type { Stage, StageOptions } from './stage';
import { onSecondClick } from './twice';
import { NODE_SIZE, usePlaces } from './useplaces';

const { nodeWidth: WIDTH, nodeHeight: HEIGHT } = NODE_SIZE;
const LABELS_FROM = 0.55; // zoom at which labels of lines can be read
const TEXT_FROM = 0.4; // and those of nodes
const LEAST = 0.62; // in the sidebar; what is larger is dragged into view
const LOWEST = 104;
const HIGHEST = 430;

export interface FunctionsProps {
  groups: ReadonlyMap<number, GroupView>;
  links: readonly Link[];
  /** Null: all match. */
  matching: ReadonlySet<number> | null;
  selected: number | null;
  width: number;
  wide: boolean;
  theme: string;
  /** Counts up when the user asks for a tidy picture. */
  tidy: number;
  foot: ReactNode;
  onGroup: (id: number) => void;
  onOpen: (id: number) => void;
}

export const Functions = memo(function Functions(props: FunctionsProps) {
  const { groups, links, matching, selected, width, wide } = props;
  const stage = useRef<Stage | null>(null);
  const places = usePlaces(groups, links, width, props.tidy);
  const [region, setRegion] = useState<Region | null>(null);
  const [pointed, setPointed] = useState<number | null>(null);
  const [current, setCurrent] = useState<number | null>(null);
  const options = useMemo(
    (): StageOptions => ({
      least: wide ? 0.3 : LEAST,
      most: 2.5,
      fitMost: wide ? 1.25 : 1,
      margin: 16,
      top: true,
      wheel: wide
    }),
    [wide]
  );

  const boxOf = useCallback(
    (id: number): Box | null => {
      const place = places.nodes.get(id);
      return place ? { x: place.x, y: place.y, width: WIDTH, height: HEIGHT } : null;
    },
    [places]
  );
  // Lines depend on places and on how thick they are, in steps; not on every count.
  const thick = links.map(link => thickness(link).toFixed(1)).join();
  const drawn = useMemo(() => {
    const shown: Link[] = [];
    const ways = [];
    for (const link of links) {
      const [source, target] = [boxOf(link.source), boxOf(link.target)];
      if (source && target) {
        const points =
          link.source === link.target
            ? loopOf(source)
            : wayBetween(source, target, places.route(link.source, link.target));
        shown.push(link);
        ways.push({ points, width: thickness(link) });
      }
    }
    return { keys: shown.map(linkKey), shown, ways, pieces: piecesOf(ways) };
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [places, boxOf, thick]);
  const latest = useMemo(() => new Map(links.map(l => [linkKey(l), l])), [links]);
  const codes = useMemo(() => {
    const byLink = drawn.shown.map(({ source, target, data }, i) => {
      const running = (groups.get(target)?.counts.RUNNING ?? 0) > 0;
      const touched = pointed === null || source === pointed || target === pointed;
      const focus = pointed ?? (source === selected || target === selected ? selected : null);
      const matches = matching === null || (matching.has(source) && matching.has(target));
      return (
        (running || (focus !== null && touched) ? LINE_BUSY : 0) |
        ((latest.get(drawn.keys[i])?.data ?? data) > 0 ? 0 : LINE_DASHED) |
        (touched && matches ? 0 : LINE_DIMMED)
      );
    });
    return Uint8Array.from(drawn.pieces.owner, whose => byLink[whose]);
  }, [drawn, latest, groups, matching, pointed, selected]);

  const painted = useRef<{ drawn: typeof drawn; stage: Stage; codes: Uint8Array } | null>(null);
  const paint = useCallback(
    (on: Stage) => {
      const before = painted.current;
      if (before?.drawn !== drawn || before.stage !== on) {
        on.painter?.setLines(drawn.pieces.numbers, codes);
      } else if (codes.some((code, i) => code !== before.codes[i])) {
        on.painter?.setLineCodes(codes);
      }
      painted.current = { drawn, stage: on, codes };
    },
    [drawn, codes]
  );

  const { contents } = places;
  const fit = (width - 32) / Math.max(1, contents.width);
  const wanted = contents.height * Math.min(1, Math.max(LEAST, fit)) + 32;
  const height = wide ? null : Math.round(Math.max(LOWEST, Math.min(HIGHEST, wanted)));
  const seen = (box: Box): boolean => region === null || overlaps(region.box, box);
  const zoom = region?.zoom ?? 1;
  const roving = current !== null && groups.has(current) ? current : firstOf(groups);

  const onKey = useCallback(
    (event: KeyboardEvent): boolean => {
      const key = event.key;
      if (key.startsWith('Arrow') && roving !== null && event.target !== event.currentTarget) {
        const next = nearestTowards(places.nodes, roving, key);
        if (next !== null) {
          setCurrent(next);
          const box = boxOf(next);
          if (box) {
            stage.current?.reveal(box);
          }
        }
        return true; // at the edge the picture stays where it is, too
      }
      return false;
    },
    [places, roving, boxOf]
  );
  // What was chosen elsewhere, or found, is brought into view.
  useEffect(() => {
    const box = selected === null ? null : boxOf(selected);
    if (box) {
      stage.current?.reveal(box);
    }
    // Only when another one was chosen: nothing moves as tasks arrive.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [selected]);
  // The focus follows once the node is there.
  const moved = useRef<number | null>(null);
  const board = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (current !== null && current !== moved.current) {
      board.current
        ?.querySelector<HTMLElement>(`[data-node="${current}"]`)
        ?.focus({ preventScroll: true });
    }
    moved.current = current;
  }, [current, region]);

  return (
    <div
      ref={board}
      className={`fl-Graph ${zoom < TEXT_FROM ? 'fl-Graph-far' : ''}`}
      data-nodes={places.nodes.size}
      data-layout={places.how}
      data-edges={drawn.shown.length}
    >
      <Board
        label={trans.__('Task graph by function')}
        help={trans.__(
          'Arrow keys go from node to node, Enter shows details, plus and minus zoom, 0 shows all.'
        )}
        role="group"
        contents={contents}
        options={options}
        height={height}
        theme={props.theme}
        paint={paint}
        stage={stage}
        onRegion={setRegion}
        onKey={onKey}
      >
        {zoom >= LABELS_FROM &&
          drawn.ways.map(({ points }, i) => {
            const link = latest.get(drawn.keys[i]) ?? drawn.shown[i];
            const text = linkLabel(link);
            const middle = link.source === link.target ? aboveLoop(points) : middleOf(points);
            const at = { x: middle.x - 40, y: middle.y - 8, width: 80, height: 16 };
            return text && seen(at) ? (
              <span
                key={drawn.keys[i]}
                className={`fl-Edge-count ${isDim(link, matching) ? 'fl-mod-dim' : ''}`}
                style={{ transform: `translate(${middle.x}px, ${middle.y}px)` }}
                title={linkText(link)}
              >
                <span>{text}</span>
              </span>
            ) : null;
          })}
        {[...groups.values()].map(group => {
          const box = boxOf(group.id);
          return box && (seen(box) || group.id === roving) ? (
            <Node
              key={group.id}
              group={group}
              x={box.x}
              y={box.y}
              dim={matching !== null && !matching.has(group.id)}
              selected={selected === group.id}
              current={roving === group.id}
              onGroup={props.onGroup}
              onOpen={props.onOpen}
              onPoint={setPointed}
              onCurrent={setCurrent}
            />
          ) : null;
        })}
      </Board>
      <Foot stage={stage}>{props.foot}</Foot>
    </div>
  );
});

function firstOf(groups: ReadonlyMap<number, GroupView>): number | null {
  return groups.keys().next().value ?? null;
}

function isDim(link: Link, matching: ReadonlySet<number> | null): boolean {
  return matching !== null && !(matching.has(link.source) && matching.has(link.target));
}

const GLYPH: Record<GroupView['kind'], string> = { task: 'ƒ', actor: '◆', method: '◇' };

export function kindText(kind: GroupView['kind']): string {
  switch (kind) {
    case 'actor':
      return trans.__('actor');
    case 'method':
      return trans.__('actor method');
    default:
      return trans.__('remote function');
  }
}

interface NodeProps {
  group: GroupView;
  x: number;
  y: number;
  dim: boolean;
  selected: boolean;
  current: boolean;
  onGroup: (id: number) => void;
  onOpen: (id: number) => void;
  onPoint: (id: number | null) => void;
  onCurrent: (id: number) => void;
}

const Node = memo(function Node(props: NodeProps) {
  const { group, x, y, dim, selected, current } = props;
  const counts = stageCounts(group);
  const all = total(counts);
  const ended = all - counts.pending - counts.running;
  const [state, note] = counts.running
    ? ['running', trans.__('%1 running', count(counts.running))]
    : counts.failed
      ? ['failed', trans.__('%1 failed', count(counts.failed))]
      : counts.pending
        ? ['pending', trans.__('%1 waiting', count(counts.pending))]
        : ['done', trans.__('done')];
  const words = trans.__('%1, %2: %3', group.name, kindText(group.kind), countsText(counts));
  return (
    <div
      className={`fl-Node-place ${dim ? 'fl-mod-dim' : ''}`}
      style={{ width: WIDTH, height: HEIGHT, transform: `translate(${x}px, ${y}px)` }}
      onPointerEnter={() => props.onPoint(group.id)}
      onPointerLeave={() => props.onPoint(null)}
    >
      <button
        type="button"
        className={`fl-Node fl-Node-${state}`}
        aria-pressed={selected}
        aria-label={words}
        title={words}
        data-group={group.name}
        data-node={group.id}
        tabIndex={current ? 0 : -1}
        onFocus={() => props.onCurrent(group.id)}
        onClick={event => {
          props.onGroup(group.id);
          if (event.detail > 0) {
            onSecondClick(event, () => props.onOpen(group.id)); // not by keyboard
          }
        }}
      >
        <span className="fl-Node-name">
          <i className="fl-Node-glyph">{GLYPH[group.kind]}</i>
          {group.name}
        </span>
        <span className="fl-Node-count">
          {note}
          <b>
            {count(ended)}/{count(all)}
          </b>
        </span>
        <StackedBar counts={counts} label={trans.__('%1: ended of all', group.name)} />
      </button>
      <button
        type="button"
        className="fl-Node-open"
        aria-label={trans.__('Show the tasks of %1', group.name)}
        title={trans.__('Show the single tasks (double click)')}
        tabIndex={current ? 0 : -1}
        onClick={() => props.onOpen(group.id)}
      >
        ▦
      </button>
    </div>
  );
});
