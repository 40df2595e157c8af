/** The second level: all tasks of one function, a square each. */
import {
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
  type KeyboardEvent,
  type ReactNode
} from 'react';
import type { GroupView } from '../../events';
import { count, duration } from '../../format';
import { trans } from '../../i18n';
import type { Box } from '../../model/graph/camera';
import type { Columns, Row } from '../../model/graph/columns';
import {
  CELL,
  PITCH,
  arrange,
  bandColumn,
  neighbour,
  outgrown,
  shapeFor,
  taskAt,
  type Arrangement,
  type Grid,
  type Shape
} from '../../model/graph/grid';
import { STATE_TEXT } from '../../model/selectors';
import { Board, Foot, type Region } from './board';
import { DIMMED } from './painter';
import type { Stage, StageOptions } from './stage';

const HEIGHT = 300;
const LOW: ReadonlyArray<[tasks: number, pixels: number]> = [
  [12, 96],
  [200, 190]
];
const BAND_LABEL = 26; // pixels that the label of a band needs

export interface GridBoardProps {
  group: GroupView;
  columns: Columns;
  version: number;
  /** One byte a task; null: all match. */
  matching: Uint8Array | null;
  by: Arrangement;
  /** Counts up when the user asks for a new form of the grid. */
  tidy: number;
  selected: string;
  time: number;
  width: number;
  wide: boolean;
  theme: string;
  foot: ReactNode;
  onTask: (id: string) => void;
  onOpen: (id: string) => void;
}

export function GridBoard(props: GridBoardProps) {
  const { group, columns, version, matching, by, tidy, selected, width, wide } = props;
  const stage = useRef<Stage | null>(null);
  const [region, setRegion] = useState<Region | null>(null);
  const [pointed, setPointed] = useState(-1);
  const [cursor, setCursor] = useState(-1);
  const grid = useGrid(columns, by, tidy, aspectOf(width || 300, wide, columns.count));
  const banded = grid.bands > 0;
  const options = useMemo(
    (): StageOptions => ({
      least: 0.02,
      most: 5,
      fitMost: 2,
      margin: 10,
      above: banded ? 12 : 0,
      below: 22,
      snap: PITCH * (window.devicePixelRatio || 1),
      top: false,
      wheel: wide
    }),
    [wide, banded]
  );
  const contents = useMemo(
    (): Box => ({ x: 0, y: 0, width: grid.width * PITCH, height: grid.height * PITCH }),
    [grid]
  );

  const painted = useRef<{ grid: Grid; stage: Stage; codes: Uint8Array } | null>(null);
  const paint = useCallback(
    (on: Stage) => {
      const n = grid.columns.length;
      const codes = new Uint8Array(n);
      for (let i = 0; i < n; i++) {
        codes[i] = columns.stage(i) | (matching !== null && !matching[i] ? DIMMED : 0);
      }
      const before = painted.current;
      if (before?.grid !== grid || before.stage !== on) {
        const places = new Float32Array(2 * n);
        for (let i = 0; i < n; i++) {
          places[2 * i] = grid.columns[i] * PITCH + (PITCH - CELL) / 2;
          places[2 * i + 1] = grid.rows[i] * PITCH + (PITCH - CELL) / 2;
        }
        on.painter?.setSquares(places, n, CELL);
        on.painter?.setCodes(codes, 0, n);
      } else {
        forEachRun(before.codes, codes, (from, to) => on.painter?.setCodes(codes, from, to));
      }
      painted.current = { grid, stage: on, codes };
    },
    // The version stands for what is in the columns.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [grid, columns, version, matching]
  );

  const chosen = useMemo(
    () => (selected ? columns.indexOf(selected) : -1),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [selected, columns, columns.shape]
  );
  const n = grid.columns.length;
  const at = cursor < n ? cursor : -1;
  const shown = pointed >= 0 && pointed < n ? pointed : at;
  const row = shown >= 0 ? columns.row(shown) : null;

  const onKey = useCallback(
    (event: KeyboardEvent): boolean => {
      if (n === 0 || event.target !== event.currentTarget) {
        return false;
      }
      const step = {
        ArrowLeft: [-1, 0],
        ArrowRight: [1, 0],
        ArrowUp: [0, -1],
        ArrowDown: [0, 1]
      }[event.key];
      if (step) {
        const next = at < 0 ? 0 : neighbour(grid, at, step[0], step[1]);
        setCursor(next);
        setPointed(-1);
        stage.current?.reveal(boxOf(grid, next));
        return true;
      }
      if ((event.key === 'Enter' || event.key === ' ') && at >= 0) {
        props.onTask(columns.idOf(at));
        return true;
      }
      return false;
    },
    [grid, at, n, columns, props]
  );
  // What was chosen elsewhere is brought into view.
  useEffect(() => {
    if (chosen >= 0 && !stage.current?.home) {
      stage.current?.reveal(boxOf(grid, chosen));
    }
    // Only when another task was chosen: nothing moves as tasks arrive.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [selected]);

  return (
    <div
      className="fl-Graph fl-Graph-grid"
      data-tasks={n}
      data-rows={grid.shape.rows}
      data-version={version}
    >
      <Board
        label={trans._n('%1 task of %2', '%1 tasks of %2', n, group.name)}
        help={trans.__(
          'Arrow keys go from task to task, Enter shows details, plus and minus zoom, 0 shows all.'
        )}
        role="application"
        contents={contents}
        options={options}
        height={wide ? null : heightFor(grid.shape.chosen)}
        theme={props.theme}
        paint={paint}
        stage={stage}
        onRegion={setRegion}
        onHover={point => setPointed(point ? taskAt(grid, point.x, point.y) : -1)}
        onClick={(point, twice) => {
          const index = taskAt(grid, point.x, point.y);
          if (index >= 0) {
            setCursor(index);
            (twice ? props.onOpen : props.onTask)(columns.idOf(index));
          }
        }}
        onKey={onKey}
        active={at >= 0 ? `fl-graph-cursor-${group.id}` : undefined}
        above={
          row && (
            <p className="fl-Graph-card" aria-hidden="true">
              <i className={`fl-fill-${row.stage}`} />
              <b>{trans.__('Task %1', count(row.index + 1))}</b>{' '}
              {describe(row, group, props.time)}
            </p>
          )
        }
      >
        {bandsOf(grid, region).map(({ band, text }) => (
          <span
            key={band}
            className="fl-Graph-band"
            style={{
              transform: `translate(${bandColumn(grid.shape, band) * PITCH}px, 0) scale(${1 / (region?.zoom ?? 1)}) translateY(-100%)`
            }}
          >
            {text}
          </span>
        ))}
        {chosen >= 0 && chosen < n && <Mark grid={grid} index={chosen} kind="chosen" />}
        {shown >= 0 && <Mark grid={grid} index={shown} kind="pointed" />}
        {at >= 0 && (
          <span
            id={`fl-graph-cursor-${group.id}`}
            className="fl-Unseen"
            role="img"
            aria-label={describe(columns.row(at), group, props.time)}
          />
        )}
      </Board>
      <Foot stage={stage}>{props.foot}</Foot>
    </div>
  );
}

/** In the sidebar: by what the grid was formed for, so that it does not grow task by task. */
function heightFor(tasks: number): number {
  return LOW.find(([most]) => tasks <= most)?.[1] ?? HEIGHT;
}

/** About the form of the room that squares have. */
function aspectOf(width: number, wide: boolean, tasks: number): number {
  const height = wide ? Math.max(300, window.innerHeight - 260) : heightFor(tasks);
  return (width - 20) / (height - 44);
}

/** A grid that only grows: its form is chosen once, and anew when it has become far too small. */
function useGrid(columns: Columns, by: Arrangement, tidy: number, aspect: number): Grid {
  const chosen = useRef<{ columns: Columns; tidy: number; shape: Shape } | null>(null);
  return useMemo(() => {
    const known = {
      count: columns.count,
      depth: columns.depth,
      submitted: columns.submitted
    };
    const before = chosen.current;
    let shape = before?.shape;
    if (
      !shape ||
      before?.columns !== columns ||
      before.tidy !== tidy ||
      shape.by !== by ||
      outgrown(shape, columns.count)
    ) {
      shape = shapeFor(by, known, aspect);
      chosen.current = { columns, tidy, shape };
    }
    return arrange(known, shape);
    // A new width of the view is no reason to move anything.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [columns, columns.shape, by, tidy]);
}

function boxOf(grid: Grid, index: number): Box {
  return {
    x: grid.columns[index] * PITCH,
    y: grid.rows[index] * PITCH,
    width: PITCH,
    height: PITCH
  };
}

function Mark(props: { grid: Grid; index: number; kind: 'chosen' | 'pointed' }) {
  const { x, y } = boxOf(props.grid, props.index);
  return (
    <span
      className={`fl-Graph-mark fl-mod-${props.kind}`}
      style={{ width: PITCH, height: PITCH, transform: `translate(${x}px, ${y}px)` }}
    />
  );
}

/** The labels of depths or times for which there is room. */
function bandsOf(grid: Grid, region: Region | null): Array<{ band: number; text: string }> {
  if (grid.bands === 0 || region === null) {
    return [];
  }
  const { shape } = grid;
  const pitch = (bandColumn(shape, 1) - bandColumn(shape, 0)) * PITCH * region.zoom;
  const wanted = shape.by === 'time' ? 2 * BAND_LABEL : BAND_LABEL;
  const every = Math.max(1, Math.ceil(wanted / pitch));
  const found = [];
  for (let band = 0; band < grid.bands; band += every) {
    const x = bandColumn(shape, band) * PITCH;
    if (x >= region.box.x && x <= region.box.x + region.box.width) {
      const text =
        shape.by === 'time' ? (band ? `+${duration(band * shape.step)}` : '0') : String(band);
      found.push({ band, text });
    }
  }
  return found;
}

/** Calls back for each run of codes that differ; runs that are close together are one. */
export function forEachRun(
  before: Uint8Array,
  after: Uint8Array,
  call: (from: number, to: number) => void
): void {
  const CLOSE = 64;
  let from = -1;
  let last = -1;
  for (let i = 0; i < after.length; i++) {
    if (before[i] !== after[i]) {
      if (from >= 0 && i - last > CLOSE) {
        call(from, last + 1);
        from = i;
      }
      from = from < 0 ? i : from;
      last = i;
    }
  }
  if (from >= 0) {
    call(from, last + 1);
  }
}

/** A task in words. */
export function describe(row: Row, group: GroupView, time: number): string {
  const state = STATE_TEXT[row.state];
  const parts = [group.name, state];
  if (row.started) {
    parts.push(duration(Math.max(0, (row.finished || time) - row.started)));
  } else if (row.stage === 'pending' && row.submitted) {
    parts.push(trans.__('for %1', duration(Math.max(0, time - row.submitted))));
  }
  if (row.worker) {
    parts.push(trans.__('worker %1', row.worker));
  }
  if (row.depth) {
    parts.push(trans.__('depth %1', row.depth));
  }
  return parts.join(' · ');
}
