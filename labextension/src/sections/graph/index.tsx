/** The task graph: functions, the tasks of one of them, and what stands around one task. */
import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react';
import type { TaskView } from '../../events';
import { count, shortId } from '../../format';
import { trans } from '../../i18n';
import type { Arrangement } from '../../model/graph/grid';
import { links } from '../../model/graph/links';
import { isActive, matchingGroups, matchingTasks } from '../../model/graph/matching';
import { stageCounts, stageOf, total, totals } from '../../model/selectors';
import { Empty } from '../../views/parts';
import type { SectionProps, SectionSpec } from '../../views/section';
import { useWidth } from '../../views/useWidth';
import { Around } from './around';
import { Functions } from './functions';
import { GridBoard } from './grid';
import { FunctionTable, TaskTable } from './tables';
import { Arranged, StateChips, Toolbar, type Step } from './toolbar';
import { useColumns } from './usecolumns';

type Level =
  | { at: 'functions' }
  | { at: 'tasks'; group: number }
  | { at: 'around'; group: number; task: string };

const TOP: Level = { at: 'functions' };
const RADII = [1, 2, 3];

function Body(props: SectionProps) {
  const { model, data, wide, selection, onSelect } = props;
  const view = useSyncExternalStore(model.subscribe, model.get, model.get);
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const [wanted, setLevel] = useState<Level>(TOP);
  const [asTable, setTable] = useState(false);
  const [tidy, setTidy] = useState(0);
  // The runtime may have folded the group into "(others)" meanwhile.
  const level = wanted.at !== 'functions' && !data.groups.has(wanted.group) ? TOP : wanted;
  const shared: LevelProps = {
    ...props,
    filter: view.filter,
    theme: view.theme,
    width,
    tidy,
    asTable,
    setLevel,
    bar: {
      model,
      data,
      filter: view.filter,
      asTable,
      onTable: () => setTable(!asTable),
      onTidy: () => setTidy(tidy + 1)
    }
  };
  // What had the focus is gone with its level: the new picture has it.
  const before = useRef(level.at);
  useEffect(() => {
    if (before.current !== level.at && document.activeElement === document.body) {
      box.current?.querySelector<HTMLElement>('.fl-Board')?.focus({ preventScroll: true });
    }
    before.current = level.at;
  }, [level.at]);
  const chosen = selection?.kind === 'task' ? selection.id : '';
  const around = useCallback(
    (id: string) => {
      const task = data.tasks.get(id);
      const group = task?.group ?? (level.at === 'functions' ? undefined : level.group);
      if (group !== undefined) {
        setLevel({ at: 'around', group, task: id });
        onSelect({ kind: 'task', id });
      }
    },
    [data.tasks, level, onSelect]
  );
  if (data.groups.size === 0) {
    return (
      <Empty>
        {trans.__(
          'No tasks yet. Each remote function becomes a node, each use of a result an edge.'
        )}
      </Empty>
    );
  }
  return (
    <div
      ref={box}
      className={`fl-GraphSection ${wide ? 'fl-mod-wide' : ''}`}
      data-level={level.at}
    >
      {level.at === 'functions' && <FunctionsLevel {...shared} />}
      {level.at === 'tasks' && (
        <TasksLevel key={level.group} {...shared} group={level.group} onAround={around} />
      )}
      {level.at === 'around' && <AroundLevel {...shared} level={level} onAround={around} />}
      {chosen && !(level.at === 'around' && level.task === chosen) && (
        <p className="fl-Hint">
          <button type="button" className="fl-Link" onClick={() => around(chosen)}>
            {trans.__('Show what stands around the chosen task')}
          </button>
        </p>
      )}
    </div>
  );
}

type LevelProps = SectionProps & {
  filter: ReturnType<SectionProps['model']['get']>['filter'];
  theme: string;
  width: number;
  tidy: number;
  asTable: boolean;
  setLevel: (level: Level) => void;
  bar: Omit<Parameters<typeof Toolbar>[0], 'path' | 'found' | 'onFind' | 'children'>;
};

function FunctionsLevel(props: LevelProps) {
  const { data, filter, selection, onSelect, setLevel, wide } = props;
  const { groups, edges } = data;
  const lines = useMemo(() => links(edges.values()), [edges]);
  // Only a worker's filter looks at single tasks.
  const tasks = filter.worker ? data.tasks : null;
  const matching = useMemo(
    () => matchingGroups(groups, tasks, filter),
    [groups, tasks, filter]
  );
  const selected = selection?.kind === 'group' ? selection.id : null;
  const onGroup = useCallback((id: number) => onSelect({ kind: 'group', id }), [onSelect]);
  const onOpen = useCallback(
    (group: number) => {
      onSelect(null); // its tasks tell more
      setLevel({ at: 'tasks', group });
    },
    [onSelect, setLevel]
  );
  const found = matching ?? groups;
  const foot = (
    <StateChips model={props.model} counts={totals(data).counts} chosen={filter.state} />
  );
  return (
    <>
      <Toolbar
        {...props.bar}
        path={[]}
        found={trans.__('%1 of %2 functions', count(found.size), count(groups.size))}
        onFind={() => {
          const first = found.keys().next().value;
          if (first !== undefined) {
            onGroup(first);
          }
        }}
      />
      {props.asTable ? (
        <FunctionTable
          groups={groups}
          links={lines}
          matching={matching}
          selected={selected}
          wide={wide}
          onGroup={onGroup}
        />
      ) : (
        <Functions
          groups={groups}
          links={lines}
          matching={matching}
          selected={selected}
          width={props.width}
          wide={wide}
          theme={props.theme}
          tidy={props.tidy}
          foot={foot}
          onGroup={onGroup}
          onOpen={onOpen}
        />
      )}
      {props.asTable && foot}
    </>
  );
}

function TasksLevel(props: LevelProps & { group: number; onAround: (id: string) => void }) {
  const { model, data, filter, selection, onSelect, setLevel, wide, width } = props;
  const [by, setBy] = useState<Arrangement>('order');
  const followed = useColumns(model.source, data, props.group);
  const group = data.groups.get(props.group)!;
  const { columns, version } = followed;
  const matching = useMemo(
    () => matchingTasks(columns, group, filter),
    // The version stands for what is in the columns.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [columns, version, group.name, filter]
  );
  const onTask = useCallback((id: string) => onSelect({ kind: 'task', id }), [onSelect]);
  const selected = selection?.kind === 'task' ? selection.id : '';
  const counts = stageCounts(group);
  const all = total(counts);
  const lit = matching === null ? columns.count : matching.reduce((sum, one) => sum + one, 0);
  const foot = <StateChips model={model} counts={counts} chosen={filter.state} />;
  const path: Step[] = [
    { text: trans.__('All functions'), go: () => setLevel(TOP) },
    { text: group.name }
  ];
  return (
    <>
      <Toolbar
        {...props.bar}
        path={path}
        found={trans.__('%1 of %2 tasks', count(lit), count(columns.count))}
        onFind={() => {
          const first = matching === null ? -1 : matching.indexOf(1);
          if (first >= 0) {
            onTask(columns.idOf(first));
          }
        }}
      >
        {!props.asTable && <Arranged by={by} onChange={setBy} />}
      </Toolbar>
      {columns.count === 0 ? (
        <Empty>
          {followed.waiting
            ? trans.__('Asking the runtime for these tasks…')
            : trans.__('The runtime has forgotten the single tasks of this function.')}
        </Empty>
      ) : props.asTable ? (
        <TaskTable
          group={group}
          columns={columns}
          version={version}
          matching={matching}
          time={data.time}
          selected={selected}
          wide={wide}
          onTask={onTask}
        />
      ) : (
        <GridBoard
          group={group}
          columns={columns}
          version={version}
          matching={matching}
          by={by}
          tidy={props.tidy}
          selected={selected}
          time={data.time}
          width={width}
          wide={wide}
          theme={props.theme}
          foot={foot}
          onTask={onTask}
          onOpen={props.onAround}
        />
      )}
      {(props.asTable || columns.count === 0) && foot}
      {columns.count > 0 && columns.count < all && (
        <p className="fl-Hint">
          {trans.__('%1 of %2 tasks.', count(columns.count), count(all))}{' '}
          {followed.partly || trans.__('The runtime has forgotten where the others ran.')}
        </p>
      )}
    </>
  );
}

interface AroundLevelProps extends LevelProps {
  level: Level & { at: 'around' };
  onAround: (id: string) => void;
}

function AroundLevel(props: AroundLevelProps) {
  const { model, data, filter, selection, onSelect, setLevel, level } = props;
  const [radius, setRadius] = useState(1);
  const onTask = useCallback((id: string) => onSelect({ kind: 'task', id }), [onSelect]);
  const group = data.groups.get(level.group)!;
  const matches = useCallback(
    (task: TaskView) =>
      (!filter.text || task.name.toLowerCase().includes(filter.text.toLowerCase())) &&
      (!filter.state || stageOf(task.state) === filter.state) &&
      (!filter.worker || task.worker === filter.worker) &&
      (filter.group === null || task.group === filter.group) &&
      (!filter.cell || data.groups.get(task.group)?.origin === filter.cell),
    [filter, data.groups]
  );
  const path: Step[] = [
    { text: trans.__('All functions'), go: () => setLevel(TOP) },
    { text: group.name, go: () => setLevel({ at: 'tasks', group: level.group }) },
    { text: trans.__('Task %1', shortId(level.task)) }
  ];
  return (
    <>
      <Toolbar
        {...props.bar}
        path={path}
        found={isActive(filter) ? trans.__('What does not match is dimmed.') : ''}
        onFind={() => undefined}
      >
        <select
          className="fl-Select"
          aria-label={trans.__('How far around')}
          value={radius}
          onChange={event => setRadius(Number(event.currentTarget.value))}
        >
          {RADII.map(steps => (
            <option key={steps} value={steps}>
              {trans._n('%1 step', '%1 steps', steps)}
            </option>
          ))}
        </select>
      </Toolbar>
      <Around
        source={model.source}
        data={data}
        id={level.task}
        radius={radius}
        tidy={props.tidy}
        width={props.width}
        wide={props.wide}
        theme={props.theme}
        asTable={props.asTable}
        selected={selection?.kind === 'task' ? selection.id : ''}
        matches={matches}
        onTask={onTask}
        onOpen={props.onAround}
      />
    </>
  );
}

export const graph: SectionSpec = {
  id: 'graph',
  title: () => trans.__('Task graph'),
  summary: data =>
    data.groups.size > 0 ? trans._n('%1 function', '%1 functions', data.groups.size) : '',
  Body
};
