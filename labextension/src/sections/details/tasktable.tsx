/** All tasks of one function as a table: which took long, which failed, which wait the longest. */
import { useMemo } from 'react';
import type { TaskState } from '../../events';
import { clock, duration } from '../../format';
import { trans } from '../../i18n';
import { STAGE_CODES, STATES, type Columns } from '../../model/graph/columns';
import { STATE_TEXT, type Stage } from '../../model/selectors';
import type { Column, Facet } from '../../views/table/model';
import { Table } from '../../views/table/table';
import { useColumns } from '../graph/usecolumns';
import { STAGE_TONE, StateDot } from '../state';
import type { DetailProps } from './props';

/** What is shown of a task; its id is read when it is chosen, since twenty thousand take a while. */
interface Row {
  index: number;
  state: TaskState;
  stage: Stage;
  submitted: number;
  started: number;
  finished: number;
}

function rowOf(held: Columns, index: number): Row {
  return {
    index,
    state: STATES[held.state[index]!] ?? 'PENDING_ARGS',
    stage: STAGE_CODES[held.stage(index)]!,
    submitted: held.submitted[index]!,
    started: held.started[index]!,
    finished: held.finished[index]!
  };
}

function columns(second: number): readonly Column<Row>[] {
  const waited = (row: Row): number => Math.max(0, (row.started || second) - row.submitted);
  const ran = (row: Row): number | null =>
    row.started > 0 ? Math.max(0, (row.finished || second) - row.started) : null;
  return [
    {
      id: 'number',
      title: trans.__('No.'),
      hint: trans.__('In the order of submission'),
      width: 48,
      align: 'end',
      value: row => row.index + 1
    },
    {
      id: 'state',
      title: trans.__('State'),
      width: 84,
      grow: 1,
      value: row => STATE_TEXT[row.state],
      cell: row => (
        <StateDot tone={STAGE_TONE[row.stage]}>
          <span>{STATE_TEXT[row.state]}</span>
        </StateDot>
      )
    },
    {
      id: 'ran',
      title: trans.__('Ran'),
      width: 70,
      align: 'end',
      downFirst: true,
      value: ran,
      text: row => {
        const time = ran(row);
        return time === null ? '' : duration(time);
      }
    },
    {
      id: 'waited',
      title: trans.__('Waited'),
      hint: trans.__('From its submission to its start'),
      width: 70,
      from: 300,
      align: 'end',
      downFirst: true,
      value: waited,
      text: row => duration(waited(row))
    },
    {
      id: 'submitted',
      title: trans.__('Submitted'),
      width: 78,
      from: 380,
      align: 'end',
      value: row => row.submitted,
      text: row => clock(row.submitted)
    }
  ];
}

const key = (row: Row): string => String(row.index); // a task keeps its place

export function TaskTable({ id, model, data, onSelect }: DetailProps) {
  const followed = useColumns(model.source, data, Number(id));
  const { columns: held, version, partly, waiting } = followed;
  const rows = useMemo(
    () => Array.from({ length: held.count }, (_, i) => rowOf(held, i)),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [held, version]
  );
  const open = rows.some(row => row.finished === 0);
  const second = open ? Math.round(data.time) : 0;
  const shape = useMemo(() => columns(second), [second]);
  const facet = useMemo(
    (): Facet<Row> => ({
      title: trans.__('State'),
      value: row => row.state,
      label: value => STATE_TEXT[value as Row['state']]
    }),
    []
  );
  if (rows.length === 0) {
    return (
      <p className="fl-Empty">
        {waiting
          ? trans.__('Asking the runtime for its tasks…')
          : trans.__('The runtime has forgotten the single tasks of this function.')}
      </p>
    );
  }
  return (
    <>
      <Table
        id="tasks-of-a-function"
        label={trans.__('Tasks of this function')}
        rows={rows}
        columns={shape}
        rowKey={key}
        sort={{ column: 'number', down: false }}
        facet={facet}
        onRow={row => onSelect({ kind: 'task', id: held.idOf(row.index) })}
      />
      {partly !== '' && <p className="fl-Hint">{partly}</p>}
    </>
  );
}
