/** The tasks of one group: a grid coloured by state, or, for few, the graph of the single tasks. */
import { memo, useEffect, useMemo, useRef, useState, type KeyboardEvent } from 'react';
import type { GroupView, TaskView } from '../events';
import { count, duration, plural } from '../format';
import { curve, layered } from '../model/layout';
import {
  STATE_TEXT,
  bySubmission,
  runtimeOf,
  stageOf,
  tasksOf,
  stageCounts,
  total
} from '../model/selectors';
import type { Data } from '../model/state';
import { ENDED } from '../model/reducer';
import type { Source } from '../model/source';
import { Empty } from '../views/parts';
import { TaskCanvas } from '../views/taskcanvas';
import { useWidth } from '../views/useWidth';

/** Up to this many tasks are drawn with the edges between them; more go on a canvas. */
export const GRAPH_TASKS = 200;
/** Of more than these the newest are shown. */
export const GRID_TASKS = 2000;
/** Seconds between two questions about a large group that is at work. */
const ASK_SECONDS = 3;
const DOT = { nodeWidth: 14, nodeHeight: 14, gapX: 5, gapY: 16 };

export interface TasksProps {
  group: GroupView;
  tasks: Data['tasks'];
  time: number;
  selected: string;
  source: Source;
  onTask: (id: string) => void;
}

export const Tasks = memo(function Tasks(props: TasksProps) {
  const { group, tasks, source } = props;
  const [known, setKnown] = useState<{ group: number; tasks: TaskView[] }>({
    group: -1,
    tasks: []
  });
  const all = total(stageCounts(group));
  const counts = stageCounts(group);
  const active = counts.pending + counts.running > 0;
  // The panel holds the newest tasks of all groups, and of very many only some changes; the runtime
  // knows them all. It is asked at first, at the end, and now and then for a group that is large.
  const round = active && all > GRAPH_TASKS ? Math.floor(props.time / ASK_SECONDS) : 0;
  useEffect(() => {
    let current = true;
    source
      .ask<{ tasks: TaskView[] }>({ what: 'group_tasks', group: group.id, limit: GRID_TASKS })
      .then(found => current && setKnown({ group: group.id, tasks: found.tasks }))
      .catch(() => undefined); // what is held already is shown
    return () => {
      current = false;
    };
  }, [group.id, active, round, source]);
  const own = useMemo(() => {
    const merged = new Map<string, TaskView>();
    if (known.group === group.id) {
      known.tasks.forEach(task => merged.set(task.id, task));
    }
    tasks.forEach((task, id) => {
      const other = task.group === group.id ? merged.get(id) : undefined;
      if (task.group === group.id && !(other && ENDED.has(other.state))) {
        merged.set(id, task);
      }
    });
    return tasksOf(merged.values(), group.id).slice(-GRID_TASKS);
  }, [known, tasks, group.id]);
  const around = useMemo(() => neighbourhood(own, tasks), [own, tasks]);
  if (own.length === 0) {
    return <Empty>The runtime has forgotten the single tasks of this function.</Empty>;
  }
  return (
    <>
      {own.length > GRAPH_TASKS ? (
        <TaskCanvas
          tasks={own}
          label={`Tasks of ${group.name}`}
          describe={task => describe(task, props.time)}
          onTask={props.onTask}
        />
      ) : (
        <Field {...props} shown={around ?? own} withEdges={around !== null} />
      )}
      {own.length < all && (
        <p className="fl-Hint">
          The newest {count(own.length)} of {plural(all, 'task')}.
        </p>
      )}
    </>
  );
});

/** The group's tasks, what they depend on and what depends on them; null if too many, or no edge. */
function neighbourhood(own: TaskView[], tasks: Data['tasks']): TaskView[] | null {
  if (own.length > GRAPH_TASKS) {
    return null;
  }
  const found = new Map(own.map(t => [t.id, t]));
  let edges = 0;
  for (const task of own) {
    for (const id of [...task.deps, task.parent]) {
      const other = tasks.get(id);
      if (other) {
        edges += 1;
        found.set(id, other);
      }
    }
  }
  const mine = new Set(own.map(t => t.id));
  for (const task of tasks.values()) {
    if (task.deps.some(id => mine.has(id)) || mine.has(task.parent)) {
      edges += 1;
      found.set(task.id, task);
    }
    if (found.size > GRAPH_TASKS) {
      return null;
    }
  }
  return edges > 0 ? [...found.values()].sort(bySubmission) : null;
}

/** A task in words. */
function describe(task: TaskView, time: number): string {
  const ran = runtimeOf(task, time);
  return `${task.name}: ${STATE_TEXT[task.state]}${ran === null ? '' : `, ${duration(ran)}`}`;
}

interface FieldProps extends TasksProps {
  shown: TaskView[];
  withEdges: boolean;
}

interface Placed {
  style: { left: number; top: number };
}

function Field(props: FieldProps) {
  const { shown, withEdges, selected, onTask, time, group } = props;
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box) || 300;
  const [cursor, setCursor] = useState(0);
  const at = Math.min(cursor, shown.length - 1);
  const shape = shown.map(t => `${t.id}<${t.deps.join()}<${t.parent}`).join(';');
  const drawing = useMemo(
    () => (withEdges ? draw(shown, width - 4) : null),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [withEdges, shape, width]
  );
  const onKey = (event: KeyboardEvent): void => {
    const perRow = Math.max(1, Math.floor(width / 15));
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow }[
      event.key
    ];
    if (step !== undefined) {
      event.preventDefault();
      setCursor(Math.max(0, Math.min(shown.length - 1, at + step)));
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      onTask(shown[at].id);
    }
  };
  const option = (task: TaskView, index: number) => {
    const placed: Placed | undefined = drawing?.places[index];
    const text = describe(task, time);
    const classes = ['fl-Dot', `fl-fill-${stageOf(task.state)}`];
    if (task.group !== group.id) {
      classes.push('fl-Dot-other');
    }
    if (index === at) {
      classes.push('fl-Dot-cursor');
    }
    return (
      <span
        key={task.id}
        id={`fl-task-${task.id}`}
        className={classes.join(' ')}
        role="option"
        aria-selected={task.id === selected}
        aria-label={text}
        title={text}
        style={placed?.style}
        onClick={() => {
          setCursor(index);
          onTask(task.id);
        }}
      />
    );
  };
  return (
    <div
      ref={box}
      className={`fl-Field ${drawing ? 'fl-Field-drawn' : ''}`}
      role="listbox"
      tabIndex={0}
      aria-label={`Tasks of ${group.name}`}
      aria-activedescendant={`fl-task-${shown[at]?.id}`}
      onKeyDown={onKey}
      style={drawing ? { height: drawing.height + 4 } : undefined}
    >
      {drawing && (
        <svg width={drawing.width + 4} height={drawing.height + 4} aria-hidden="true">
          {drawing.paths.map(({ d, spawn }, i) => (
            <path key={i} className={`fl-Edge ${spawn ? 'fl-Edge-spawn' : ''}`} d={d} />
          ))}
        </svg>
      )}
      {shown.map(option)}
    </div>
  );
}

function draw(tasks: TaskView[], width: number) {
  const index = new Map(tasks.map((t, i) => [t.id, i]));
  const edges: Array<{ source: number; target: number; spawn: boolean }> = [];
  tasks.forEach((task, target) => {
    const seen = new Set<string>();
    for (const id of task.deps) {
      const source = index.get(id);
      if (source !== undefined && !seen.has(id)) {
        seen.add(id);
        edges.push({ source, target, spawn: false });
      }
    }
    const parent = index.get(task.parent);
    if (parent !== undefined && !seen.has(task.parent)) {
      edges.push({ source: parent, target, spawn: true });
    }
  });
  const laid = layered([...tasks.keys()], edges, { ...DOT, width });
  return {
    width: laid.width,
    height: laid.height,
    places: tasks.map((_, i): Placed => {
      const p = laid.nodes.get(i)!;
      return { style: { left: p.x + 2, top: p.y + 2 } };
    }),
    paths: laid.edges.map(({ edge, points }) => ({
      spawn: edge.spawn,
      d: curve(points.map(p => ({ x: p.x + 2, y: p.y + 2 })))
    }))
  };
}
