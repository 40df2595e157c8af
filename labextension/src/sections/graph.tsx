/** The task graph, one node for each function; a click on a node shows its tasks. */
import { memo, useCallback, useMemo, useRef, type CSSProperties } from 'react';
import type { EdgeView, GroupView } from '../events';
import { count } from '../format';
import { trans } from '../i18n';
import { curve, layered } from '../model/layout';
import { stageCounts, total } from '../model/selectors';
import type { Data } from '../model/state';
import { Empty, StackedBar, countsText } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import { useWidth } from '../views/useWidth';

const NODE = { nodeWidth: 136, nodeHeight: 46, gapX: 20, gapY: 34, gapParts: 16 };
const WIDEST_NODE = 188;
const SMALLEST_SCALE = 0.62;
const MARGIN = 14; // room for the arcs of functions that call themselves

export interface GraphProps {
  groups: Data['groups'];
  edges: Data['edges'];
  selected: number | null;
  onGroup: (id: number) => void;
}

interface Link {
  source: number;
  target: number;
  data: number;
  spawn: number;
}

/** Data and spawn edges between the same two functions, as one line. */
export function links(edges: Iterable<EdgeView>): Link[] {
  const found = new Map<string, Link>();
  for (const edge of edges) {
    const key = `${edge.source}>${edge.target}`;
    const link = found.get(key) ?? {
      source: edge.source,
      target: edge.target,
      data: 0,
      spawn: 0
    };
    link[edge.kind] += edge.count;
    found.set(key, link);
  }
  return [...found.values()].sort((a, b) => a.source - b.source || a.target - b.target);
}

export const Graph = memo(function Graph({ groups, edges, selected, onGroup }: GraphProps) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const lines = useMemo(() => links(edges.values()), [edges]);
  // Counts change ten times a second; the layout depends on the shape alone.
  const shape = [...groups.keys()].join() + lines.map(l => `;${l.source}>${l.target}`).join('');
  const room = Math.max(NODE.nodeWidth, (width || 320) - 2 * MARGIN);
  const nodeWidth = nodeWidthFor(room);
  const laid = useMemo(
    () => layered([...groups.keys()], lines, { ...NODE, nodeWidth, width: room }),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [shape, room, nodeWidth]
  );
  const byKey = new Map(lines.map(l => [`${l.source}>${l.target}`, l]));
  const scale = Math.max(SMALLEST_SCALE, Math.min(1, room / Math.max(1, laid.width)));
  const style: CSSProperties = {
    width: laid.width + 2 * MARGIN,
    height: laid.height + 2 * MARGIN,
    transform: `scale(${scale})`
  };
  return (
    <div ref={box}>
      {groups.size === 0 && (
        <Empty>
          No tasks yet. Each remote function becomes a node, each use of a result an edge.
        </Empty>
      )}
      {groups.size > 0 && (
        <div
          className="fl-Graph"
          role="group"
          aria-label="Task graph by function"
          style={{ height: (laid.height + 2 * MARGIN) * scale }}
        >
          <div className="fl-Graph-canvas" style={style}>
            <svg width={style.width} height={style.height} aria-hidden="true">
              <g transform={`translate(${MARGIN} ${MARGIN})`}>
                {laid.edges.map(({ edge, points }) => {
                  const link = byKey.get(`${edge.source}>${edge.target}`) ?? edge;
                  const busy = isActive(groups.get(link.target));
                  return (
                    <EdgeLine
                      key={`${edge.source}>${edge.target}`}
                      link={link}
                      path={curve(points)}
                      points={points}
                      busy={busy}
                    />
                  );
                })}
                {lines
                  .filter(l => l.source === l.target && laid.nodes.has(l.source))
                  .map(l => {
                    const p = laid.nodes.get(l.source)!;
                    const x = p.x + nodeWidth;
                    const y = p.y + NODE.nodeHeight / 2;
                    return (
                      <path
                        key={`self${l.source}`}
                        className={`fl-Edge ${l.data ? '' : 'fl-Edge-spawn'}`}
                        d={`M${x} ${y - 10}c14 -6 14 26 0 20`}
                      >
                        <title>{`calls itself, ${count(l.data + l.spawn)} times`}</title>
                      </path>
                    );
                  })}
              </g>
            </svg>
            {[...groups.values()].map(group => {
              const p = laid.nodes.get(group.id);
              return p ? (
                <Node
                  key={group.id}
                  group={group}
                  x={p.x + MARGIN}
                  y={p.y + MARGIN}
                  width={nodeWidth}
                  selected={selected === group.id}
                  onGroup={onGroup}
                />
              ) : null;
            })}
          </div>
        </div>
      )}
    </div>
  );
});

/** As many columns as fit, and nodes that fill them. */
function nodeWidthFor(room: number): number {
  const columns = Math.max(1, Math.floor((room + NODE.gapX) / (NODE.nodeWidth + NODE.gapX)));
  const width = Math.floor((room - NODE.gapX * (columns - 1)) / columns);
  return Math.max(NODE.nodeWidth, Math.min(WIDEST_NODE, width));
}

function isActive(group: GroupView | undefined): boolean {
  return (group?.counts.RUNNING ?? 0) > 0;
}

interface EdgeLineProps {
  link: Link;
  path: string;
  points: ReadonlyArray<{ x: number; y: number }>;
  busy: boolean;
}

function EdgeLine({ link, path, points, busy }: EdgeLineProps) {
  const all = link.data + link.spawn;
  const a = points[0];
  const b = points[1];
  const classes = ['fl-Edge', link.data ? '' : 'fl-Edge-spawn', busy ? 'fl-Edge-busy' : ''];
  const end = points[points.length - 1];
  const flip = end.y >= points[points.length - 2].y ? 1 : -1; // an edge that closes a cycle goes up
  return (
    <g>
      <path className={classes.join(' ')} d={path} style={{ strokeWidth: thickness(all) }}>
        <title>
          {link.data > 0 && `${count(link.data)} results passed on. `}
          {link.spawn > 0 && `${count(link.spawn)} tasks submitted from inside.`}
        </title>
      </path>
      <path
        className={classes.join(' ') + ' fl-Edge-end'}
        d={`M${end.x} ${end.y}l-4 -${flip * 6}h8z`}
      />
      {all > 1 && (
        <text className="fl-Edge-count" x={(a.x + b.x) / 2} y={(a.y + b.y) / 2 + 3.5}>
          {count(all)}
        </text>
      )}
    </g>
  );
}

function thickness(n: number): number {
  return 1.2 + Math.min(2.4, Math.log10(Math.max(1, n)));
}

const GLYPH: Record<GroupView['kind'], string> = { task: 'ƒ', actor: '◆', method: '◇' };
const KIND: Record<GroupView['kind'], string> = {
  task: 'remote function',
  actor: 'actor',
  method: 'actor method'
};

interface NodeProps {
  group: GroupView;
  x: number;
  y: number;
  width: number;
  selected: boolean;
  onGroup: (id: number) => void;
}

const Node = memo(function Node({ group, x, y, width, selected, onGroup }: NodeProps) {
  const counts = stageCounts(group);
  const all = total(counts);
  const ended = all - counts.pending - counts.running;
  const state = counts.running
    ? 'running'
    : counts.failed
      ? 'failed'
      : counts.pending
        ? 'pending'
        : 'done';
  return (
    <button
      type="button"
      className={`fl-Node fl-Node-${state}`}
      aria-pressed={selected}
      aria-label={`${group.name}, ${KIND[group.kind]}: ${countsText(counts)}`}
      title={`${group.name} (${KIND[group.kind]}): ${countsText(counts)}`}
      data-group={group.name}
      style={{
        width,
        height: NODE.nodeHeight,
        transform: `translate(${x}px, ${y}px)`
      }}
      onClick={() => onGroup(group.id)}
    >
      <span className="fl-Node-name">
        <i className={`fl-Node-glyph fl-Node-glyph-${group.kind}`}>{GLYPH[group.kind]}</i>
        {group.name}
      </span>
      <span className="fl-Node-count">
        {counts.running > 0
          ? `${count(counts.running)} running`
          : counts.failed > 0
            ? `${count(counts.failed)} failed`
            : counts.pending > 0
              ? `${count(counts.pending)} waiting`
              : 'done'}
        <b>
          {count(ended)}/{count(all)}
        </b>
      </span>
      <StackedBar counts={counts} label={`${group.name}: ended of all`} />
    </button>
  );
});

function Body({ data, selection, onSelect }: SectionProps) {
  const onGroup = useCallback((id: number) => onSelect({ kind: 'group', id }), [onSelect]);
  return (
    <Graph
      groups={data.groups}
      edges={data.edges}
      selected={selection?.kind === 'group' ? selection.id : null}
      onGroup={onGroup}
    />
  );
}

export const graph: SectionSpec = {
  id: 'graph',
  title: () => trans.__('Task graph'),
  summary: data =>
    data.groups.size > 0 ? trans._n('%1 function', '%1 functions', data.groups.size) : '',
  Body
};
