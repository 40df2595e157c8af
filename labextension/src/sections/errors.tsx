/** What failed, by cause: how often, since when, where; the details stand in the drawer. */
import { useMemo } from 'react';
import { clock, count } from '../format';
import { trans } from '../i18n';
import { placeOf, withoutKind, type Cause } from '../model/causes';
import { totals } from '../model/selectors';
import type { Data } from '../model/state';
import { CellLink } from '../views/cell';
import type { PanelModel } from '../views/model';
import { Empty, stripAnsi } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import { useCauses } from './causes';
import type { Column } from '../views/table/model';
import { Table } from '../views/table/table';

/** The kind and the message of a cause, in one line. */
export function CauseText({ cause }: { cause: Cause }) {
  const message = stripAnsi(withoutKind(cause.message)).split('\n', 1)[0]!.slice(0, 300);
  return (
    <span className="fl-Cause">
      {cause.kind !== '' && <b className="fl-bad">{cause.kind}</b>}
      {cause.kind !== '' && message !== '' && ': '}
      {message}
    </span>
  );
}

function columns(model: PanelModel): readonly Column<Cause>[] {
  const at = (cause: Cause): string => {
    const place = placeOf(cause.traceback);
    return place ? trans.__('line %1', place.line) : '';
  };
  return [
    {
      id: 'error',
      title: trans.__('Error'),
      width: 120,
      grow: 4,
      value: cause => cause.message,
      text: cause => stripAnsi(cause.message),
      cell: cause => <CauseText cause={cause} />
    },
    {
      id: 'name',
      title: trans.__('Function'),
      width: 72,
      grow: 1,
      from: 280,
      value: cause => cause.name
    },
    {
      id: 'count',
      title: trans.__('Times'),
      hint: trans.__('How often'),
      width: 54,
      align: 'end',
      downFirst: true,
      value: cause => cause.count,
      text: cause => count(cause.count)
    },
    {
      id: 'last',
      title: trans.__('Last'),
      width: 72,
      from: 420,
      align: 'end',
      downFirst: true,
      value: cause => cause.last,
      text: cause => clock(cause.last)
    },
    {
      id: 'first',
      title: trans.__('First'),
      width: 72,
      from: 720,
      align: 'end',
      downFirst: true,
      value: cause => cause.first,
      text: cause => clock(cause.first)
    },
    {
      id: 'line',
      title: trans.__('Where'),
      width: 66,
      from: 620,
      value: cause => placeOf(cause.traceback)?.line ?? null,
      text: at
    },
    {
      id: 'cell',
      title: trans.__('Cell'),
      width: 110,
      grow: 1,
      from: 560,
      value: cause => cause.origin || null,
      cell: (cause, active) => (
        <CellLink model={model} origin={cause.origin} focusable={active} />
      )
    }
  ];
}

const key = (cause: Cause): string => cause.id;

export function Errors({ model, data, live, selection, onSelect }: SectionProps) {
  const causes = useCauses(model, data, live);
  const shape = useMemo(() => columns(model), [model]);
  if (causes.length === 0) {
    return <Empty>{trans.__('No task has failed.')}</Empty>;
  }
  const failed = failures(data);
  const told = causes.reduce((sum, cause) => sum + cause.count, 0);
  return (
    <>
      <Table
        id="errors"
        label={trans.__('Errors by cause')}
        rows={causes}
        columns={shape}
        rowKey={key}
        sort={{ column: 'last', down: true }}
        selected={selection?.kind === 'error' ? selection.id : undefined}
        onRow={cause => onSelect({ kind: 'error', id: cause.id })}
      />
      {failed > told && (
        <p className="fl-Hint">
          {trans.__('The newest %1 of %2 failures.', count(told), count(failed))}
        </p>
      )}
    </>
  );
}

/** Tasks that failed, so far; at least those whose errors are known. */
function failures(data: Data): number {
  return Math.max(totals(data).counts.failed, data.errors.length);
}

export const errors: SectionSpec = {
  id: 'errors',
  title: () => trans.__('Errors'),
  summary: data => (data.errors.length > 0 ? count(failures(data)) : trans.__('none')),
  bad: data => data.errors.length > 0,
  Body: Errors
};
