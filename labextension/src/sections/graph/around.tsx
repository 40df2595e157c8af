/** The third level: one task, what it was made of, what is made of it, and who submitted it. */
import { memo, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import type { NeighboursAnswer as Neighbours } from '../../answers';
import type { TaskView } from '../../events';
import { bytes, duration, shortId } from '../../format';
import { trans } from '../../i18n';
import { overlaps, type Box } from '../../model/graph/camera';
import { middleOf, piecesOf, wayBetween } from '../../model/graph/links';
import { layNeighbours, type Surroundings } from '../../model/graph/neighbours';
import { STATE_TEXT, runtimeOf, stageOf } from '../../model/selectors';
import type { Source } from '../../model/source';
import type { Data } from '../../model/state';
import { Empty } from '../../views/parts';
import { Board, Foot, type Region } from './board';
import { LINE_BUSY, LINE_DASHED } from './painter';
import type { Stage, StageOptions } from './stage';
import { AroundTable } from './tables';
import { onSecondClick } from './twice';

const SIZE = { nodeWidth: 132, nodeHeight: 36, gapX: 14, gapY: 38 };
const HEIGHT = 300;
const ASK_SECONDS = 1;

export interface AroundProps {
  source: Source;
  data: Data;
  id: string;
  radius: number;
  tidy: number;
  width: number;
  wide: boolean;
  theme: string;
  asTable: boolean;
  selected: string;
  matches: (task: TaskView) => boolean;
  onTask: (id: string) => void;
  onOpen: (id: string) => void;
}

export function Around(props: AroundProps) {
  const { data, id, width, wide, selected } = props;
  const { found, problem } = useNeighbours(props.source, data, id, props.radius);
  const stage = useRef<Stage | null>(null);
  const [region, setRegion] = useState<Region | null>(null);
  const options = useMemo(
    (): StageOptions => ({
      least: 0.8, // it can be read: the task that was asked for comes first
      most: 2.5,
      fitMost: 1.1,
      margin: 16,
      top: false,
      wheel: wide
    }),
    [wide]
  );
  const shape = found ? shapeOf(found) : '';
  const laid = useMemo(
    (): Surroundings | null =>
      found ? layNeighbours(found, id, SIZE, Math.max(280, width - 32)) : null,
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [shape, id, width > 0, props.tidy]
  );
  const drawn = useMemo(() => {
    const links = (laid?.links ?? []).filter(
      l => laid!.places.has(l.source) && laid!.places.has(l.target)
    );
    const ways = links.map(link => ({
      points: wayBetween(box(laid!, link.source), box(laid!, link.target), link.route),
      width: 1.25 + Math.min(4, Math.max(0, Math.log10((link.size || 1) / 1000) / 2))
    }));
    const pieces = piecesOf(ways);
    const codes = Uint8Array.from(pieces.owner, whose => {
      const { kind, source, target } = links[whose];
      return (
        (kind === 'spawn' ? LINE_DASHED : 0) | (source === id || target === id ? LINE_BUSY : 0)
      );
    });
    return { links, ways, pieces, codes };
  }, [laid, id]);
  const paint = useCallback(
    (on: Stage) => on.painter?.setLines(drawn.pieces.numbers, drawn.codes),
    [drawn]
  );
  const contents = useMemo(
    (): Box => ({ x: 0, y: 0, width: laid?.width ?? 0, height: laid?.height ?? 0 }),
    [laid]
  );
  // The middle of it all is the task that was asked for.
  useEffect(() => {
    if (laid && laid.places.has(id)) {
      stage.current?.fit(false);
      const { x, y, width: w, height: h } = box(laid, id);
      stage.current?.reveal({ x: x - w, y: y - 2 * h, width: 3 * w, height: 5 * h });
    }
  }, [laid, id]);
  if (problem && !found) {
    return <Empty>{problem}</Empty>;
  }
  if (!found || !laid) {
    return <Empty>{trans.__('Looking at what stands around this task…')}</Empty>;
  }
  const known = new Map(found.tasks.map(task => [task.id, data.tasks.get(task.id) ?? task]));
  if (props.asTable) {
    return (
      <AroundTable
        found={found}
        tasks={known}
        centre={id}
        time={data.time}
        selected={selected}
        wide={wide}
        onTask={props.onTask}
      />
    );
  }
  const seen = (at: Box): boolean => region === null || overlaps(region.box, at);
  return (
    <div className="fl-Graph" data-tasks={found.tasks.length} data-edges={drawn.links.length}>
      <Board
        label={trans.__('What stands around the task %1', known.get(id)?.name ?? shortId(id))}
        help={trans.__('Tab goes from task to task, plus and minus zoom, 0 shows all.')}
        role="group"
        contents={contents}
        options={options}
        height={wide ? null : Math.round(Math.max(140, Math.min(HEIGHT, laid.height + 40)))}
        theme={props.theme}
        paint={paint}
        stage={stage}
        onRegion={setRegion}
      >
        {drawn.links.map((link, i) => {
          const at = middleOf(drawn.ways[i].points);
          return link.size >= 1000 && (region?.zoom ?? 1) >= 0.55 ? (
            <span
              key={`${link.source}>${link.target}:${link.kind}`}
              className="fl-Edge-count"
              style={{ transform: `translate(${at.x}px, ${at.y}px)` }}
            >
              <span>{bytes(link.size)}</span>
            </span>
          ) : null;
        })}
        {found.values.map(value => {
          const at = laid.places.has(value.id) ? box(laid, value.id) : null;
          return at && seen(at) ? (
            <span
              key={value.id}
              className="fl-Node-place fl-Node-value"
              style={{
                width: at.width,
                height: at.height,
                transform: `translate(${at.x}px, ${at.y}px)`
              }}
              title={value.id}
            >
              <span className="fl-Node-name">
                {value.name === 'put' ? trans.__('put value') : value.name}
              </span>
              <span className="fl-Node-count">
                {value.state === 'GONE'
                  ? trans.__('gone')
                  : value.size
                    ? bytes(value.size)
                    : value.place}
              </span>
            </span>
          ) : null;
        })}
        {[...known.values()].map(task => {
          const at = laid.places.has(task.id) ? box(laid, task.id) : null;
          return at && seen(at) ? (
            <TaskNode
              key={task.id}
              task={task}
              at={at}
              time={task.finished ? 0 : data.time}
              centre={task.id === id}
              selected={task.id === selected}
              dim={!props.matches(task)}
              onTask={props.onTask}
              onOpen={props.onOpen}
            />
          ) : null;
        })}
      </Board>
      <Foot stage={stage}>{null}</Foot>
      {!found.whole && (
        <p className="fl-Hint">
          {trans.__(
            'There is more around it than is shown: the nearest %1 tasks.',
            found.tasks.length
          )}
        </p>
      )}
      {found.tasks.length === 1 && found.values.length === 0 && (
        <p className="fl-Hint">
          {trans.__('It takes no results of other tasks, and none takes its result.')}
        </p>
      )}
    </div>
  );
}

interface TaskNodeProps {
  task: TaskView;
  at: Box;
  time: number;
  centre: boolean;
  selected: boolean;
  dim: boolean;
  onTask: (id: string) => void;
  onOpen: (id: string) => void;
}

const TaskNode = memo(
  function TaskNode({ task, at, time, centre, selected, dim, onTask, onOpen }: TaskNodeProps) {
    const ran = runtimeOf(task, time);
    const stage = stageOf(task.state);
    const state = STATE_TEXT[task.state];
    const words = [task.name, state, ran === null ? '' : duration(ran)]
      .filter(Boolean)
      .join(' · ');
    return (
      <div
        className={`fl-Node-place ${dim ? 'fl-mod-dim' : ''}`}
        style={{
          width: at.width,
          height: at.height,
          transform: `translate(${at.x}px, ${at.y}px)`
        }}
      >
        <button
          type="button"
          className={`fl-Node fl-Node-task fl-Node-${stage} ${centre ? 'fl-mod-centre' : ''}`}
          aria-pressed={selected}
          aria-current={centre}
          aria-label={words}
          title={words}
          data-task={task.id}
          onClick={event => {
            onTask(task.id);
            if (event.detail > 0) {
              onSecondClick(event, () => onOpen(task.id)); // not by keyboard
            }
          }}
        >
          <span className="fl-Node-name">
            <i className={`fl-Node-dot fl-fill-${stage}`} />
            {task.name}
          </span>
          <span className="fl-Node-count">
            {state}
            <b>{ran === null ? '' : duration(ran)}</b>
          </span>
        </button>
      </div>
    );
  },
  (a, b) =>
    a.task === b.task &&
    a.at === b.at &&
    a.centre === b.centre &&
    a.selected === b.selected &&
    a.dim === b.dim &&
    (a.time === b.time || stageOf(b.task.state) === 'pending')
);

function box(laid: Surroundings, id: string): Box {
  return laid.boxes.get(id)!;
}

/** Which nodes and lines there are: the layout depends on nothing else. */
function shapeOf(found: Neighbours): string {
  return [
    ...found.tasks.map(t => t.id),
    ...found.values.map(v => v.id),
    ...found.links.map(l => `${l.source}>${l.target}`)
  ].join();
}

/** The surroundings of a task, asked for again as they may have changed. */
function useNeighbours(source: Source, data: Data, id: string, radius: number) {
  const [answer, setAnswer] = useState<{
    id: string;
    radius: number;
    found: Neighbours;
  } | null>(null);
  const [problem, setProblem] = useState('');
  const [answers, setAnswers] = useState(0);
  const asked = useRef({ key: '', time: NaN, busy: false });
  useEffect(() => {
    const key = `${data.runtime.id} ${id} ${radius}`;
    const { time, busy } = asked.current;
    const soon = source.kind === 'live' && data.time - time < ASK_SECONDS;
    if (asked.current.key === key && (busy || soon || time === data.time)) {
      return;
    }
    const mine = { key, time: data.time, busy: true };
    asked.current = mine;
    source
      .ask<Neighbours>({ what: 'neighbours', id, radius })
      .then(found => {
        if (asked.current === mine) {
          setProblem('');
          setAnswer({ id, radius, found });
        }
      })
      .catch((error: unknown) => {
        if (asked.current === mine) {
          setProblem(error instanceof Error ? error.message : String(error));
        }
      })
      .finally(() => {
        mine.busy = false;
        setAnswers(n => n + 1); // the moment may have changed meanwhile
      });
  }, [source, data.runtime.id, data.time, id, radius, answers]);
  return { found: answer?.id === id ? answer.found : null, problem };
}
