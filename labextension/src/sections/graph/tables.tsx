/** The graph as tables: for screen readers, where nothing can be drawn, and for who likes rows. */
import { useMemo } from 'react';
import type { NeighboursAnswer as Neighbours } from '../../answers';
import type { GroupView, TaskView } from '../../events';
import { bytes, count, duration, shortId } from '../../format';
import { trans } from '../../i18n';
import type { Columns, Row } from '../../model/graph/columns';
import { linkText, type Link } from '../../model/graph/links';
import { STATE_TEXT, progressRow, runtimeOf, type ProgressRow } from '../../model/selectors';
import type { Column } from '../../views/table/model';
import { ROW_HEIGHT, Table } from '../../views/table/table';
import { kindText } from './functions';

/** Rows in view: as many as there is room for in a tab. */
function linesFor(wide: boolean): number {
  return wide && typeof window !== 'undefined'
    ? Math.max(8, Math.floor((window.innerHeight - 260) / ROW_HEIGHT))
    : 10;
}

const DOWN = { align: 'end', downFirst: true } as const;

interface FunctionRow extends ProgressRow {
  /** What its results go to. */
  feeds: string;
}

export interface FunctionTableProps {
  groups: ReadonlyMap<number, GroupView>;
  links: readonly Link[];
  matching: ReadonlySet<number> | null;
  selected: number | null;
  wide: boolean;
  onGroup: (id: number) => void;
}

export function FunctionTable(props: FunctionTableProps) {
  const { groups, links, matching } = props;
  const rows = useMemo(() => {
    const feeds = new Map<number, string[]>();
    for (const link of links) {
      const target = groups.get(link.target);
      if (target) {
        const text = trans.__('%1 (%2)', target.name, linkText(link));
        feeds.set(link.source, [...(feeds.get(link.source) ?? []), text]);
      }
    }
    return [...groups.values()]
      .filter(group => matching === null || matching.has(group.id))
      .map((group): FunctionRow => ({
        ...progressRow(group, [], 0),
        feeds: (feeds.get(group.id) ?? []).join(', ')
      }));
  }, [groups, links, matching]);
  const columns = useMemo((): Column<FunctionRow>[] => {
    const number = (
      stage: 'pending' | 'running' | 'done' | 'failed',
      title: string,
      from: number
    ): Column<FunctionRow> => ({
      id: stage,
      title,
      value: row => row.counts[stage],
      text: row => (row.counts[stage] ? count(row.counts[stage]) : ''),
      width: 62,
      from,
      ...DOWN
    });
    return [
      {
        id: 'name',
        title: trans.__('Function'),
        value: row => row.group.name,
        width: 110,
        grow: 2
      },
      {
        id: 'kind',
        title: trans.__('Kind'),
        value: row => kindText(row.group.kind),
        width: 124,
        from: 760
      },
      number('pending', trans.__('Waiting'), 420),
      number('running', trans.__('Running'), 0),
      number('done', trans.__('Done'), 0),
      number('failed', trans.__('Failed'), 0),
      {
        id: 'mean',
        title: trans.__('Each'),
        hint: trans.__('Mean time of a task'),
        value: row => row.mean,
        text: row => (row.mean === null ? '' : duration(row.mean)),
        width: 66,
        from: 520,
        ...DOWN
      },
      {
        id: 'feeds',
        title: trans.__('Results go to'),
        value: row => row.feeds,
        width: 150,
        grow: 3,
        from: 620
      }
    ];
  }, []);
  return (
    <Table
      id="graph-functions"
      label={trans.__('Task graph by function')}
      rows={rows}
      columns={columns}
      rowKey={row => String(row.group.id)}
      sort={{ column: 'name', down: false }}
      selected={props.selected === null ? undefined : String(props.selected)}
      onRow={row => props.onGroup(row.group.id)}
      lines={linesFor(props.wide)}
    />
  );
}

export interface TaskTableProps {
  group: GroupView;
  columns: Columns;
  version: number;
  matching: Uint8Array | null;
  time: number;
  selected: string;
  wide: boolean;
  onTask: (id: string) => void;
}

export function TaskTable(props: TaskTableProps) {
  const { group, columns, version, matching } = props;
  const rows = useMemo(() => {
    const found: Row[] = [];
    for (let i = 0; i < columns.count; i++) {
      if (matching === null || matching[i]) {
        found.push(columns.row(i));
      }
    }
    return found;
    // The version stands for what is in the columns.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [columns, version, matching]);
  const table = useMemo((): Column<Row>[] => {
    const ran = (row: Row): number | null =>
      row.started && row.finished ? row.finished - row.started : null;
    const waited = (row: Row): number | null =>
      row.started && row.submitted ? Math.max(0, row.started - row.submitted) : null;
    const time = (value: number | null): string => (value === null ? '' : duration(value));
    return [
      {
        id: 'number',
        title: '#',
        value: row => row.index + 1,
        width: 52,
        align: 'end'
      },
      {
        id: 'state',
        title: trans.__('State'),
        value: row => STATE_TEXT[row.state],
        cell: row => (
          <>
            <i className={`fl-Node-dot fl-fill-${row.stage}`} /> {STATE_TEXT[row.state]}
          </>
        ),
        width: 110,
        grow: 2
      },
      {
        id: 'waited',
        title: trans.__('Waited'),
        value: waited,
        text: row => time(waited(row)),
        width: 70,
        from: 380,
        ...DOWN
      },
      {
        id: 'ran',
        title: trans.__('Ran'),
        value: ran,
        text: row => time(ran(row)),
        width: 70,
        ...DOWN
      },
      {
        id: 'worker',
        title: trans.__('Worker'),
        value: row => row.worker || null,
        width: 62,
        align: 'end',
        from: 320
      },
      {
        id: 'depth',
        title: trans.__('Depth'),
        value: row => row.depth,
        width: 56,
        align: 'end',
        from: 460
      },
      {
        id: 'id',
        title: trans.__('Id'),
        value: row => row.id,
        text: row => shortId(row.id),
        width: 100,
        from: 560
      }
    ];
  }, []);
  return (
    <Table
      id="graph-tasks"
      label={trans.__('Tasks of %1', group.name)}
      rows={rows}
      columns={table}
      rowKey={row => row.id}
      sort={{ column: 'number', down: false }}
      selected={props.selected}
      onRow={row => props.onTask(row.id)}
      lines={linesFor(props.wide)}
    />
  );
}

export interface AroundTableProps {
  found: Neighbours;
  tasks: ReadonlyMap<string, TaskView>;
  centre: string;
  time: number;
  selected: string;
  wide: boolean;
  onTask: (id: string) => void;
}

interface Relative {
  task: TaskView;
  how: string;
  size: number;
}

/** The tasks around one, each with what it is to it. */
export function AroundTable(props: AroundTableProps) {
  const { found, tasks, centre, time } = props;
  const rows = useMemo(() => {
    const relation = (id: string): [string, number] => {
      for (const link of found.links) {
        const spawn = link.kind === 'spawn';
        if (link.source === id && link.target === centre) {
          return [spawn ? trans.__('submitted it') : trans.__('made an argument'), link.size];
        }
        if (link.source === centre && link.target === id) {
          return [
            spawn ? trans.__('submitted by it') : trans.__('takes its result'),
            link.size
          ];
        }
      }
      return [id === centre ? trans.__('this task') : trans.__('further away'), 0];
    };
    return [...tasks.values()].map((task): Relative => {
      const [how, size] = relation(task.id);
      return { task, how, size };
    });
  }, [found, tasks, centre]);
  const columns = useMemo(
    (): Column<Relative>[] => [
      { id: 'how', title: trans.__('Relation'), value: row => row.how, width: 110, grow: 1 },
      { id: 'name', title: trans.__('Task'), value: row => row.task.name, width: 90, grow: 2 },
      {
        id: 'state',
        title: trans.__('State'),
        value: row => STATE_TEXT[row.task.state],
        width: 90,
        from: 300
      },
      {
        id: 'ran',
        title: trans.__('Ran'),
        value: row => runtimeOf(row.task, time),
        text: row => {
          const ran = runtimeOf(row.task, time);
          return ran === null ? '' : duration(ran);
        },
        width: 66,
        from: 420,
        ...DOWN
      },
      {
        id: 'size',
        title: trans.__('Data'),
        value: row => row.size || null,
        text: row => (row.size ? bytes(row.size) : ''),
        width: 70,
        from: 360,
        ...DOWN
      }
    ],
    [time]
  );
  return (
    <Table
      id="graph-around"
      label={trans.__('What stands around the task')}
      rows={rows}
      columns={columns}
      rowKey={row => row.task.id}
      sort={{ column: 'how', down: false }}
      selected={props.selected}
      onRow={row => props.onTask(row.task.id)}
      lines={linesFor(props.wide)}
    />
  );
}
