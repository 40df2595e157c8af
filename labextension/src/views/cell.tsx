/** The way from a task, an error or a line of output to the cell that it comes from. */
import { trans } from '../i18n';
import type { PanelModel } from './model';

export interface CellLinkProps {
  model: PanelModel;
  /** IPython's id of the cell, "" if it is not known. */
  origin: string;
  /** In a row of a table only the row with the cursor is reached with Tab. */
  focusable?: boolean;
  /** Counts from 1. */
  line?: number;
}

/** What a cell is called: its number and first line where its notebook is open. */
export function cellName(model: PanelModel, origin: string): string {
  return origin === ''
    ? trans.__('not from a cell')
    : (model.cellTitle(origin) ?? trans.__('cell %1', origin.slice(0, 8)));
}

export function CellLink({ model, origin, focusable = true, line }: CellLinkProps) {
  if (origin === '') {
    return null;
  }
  const name = cellName(model, origin);
  const { goToCell } = model;
  if (goToCell === null) {
    return <span className="fl-quiet">{name}</span>;
  }
  return (
    <button
      type="button"
      className="fl-Link fl-CellLink"
      tabIndex={focusable ? 0 : -1}
      title={trans.__('Go to %1', name)}
      onClick={event => {
        event.stopPropagation(); // the row that it stands in is not what was clicked
        goToCell(origin, line);
      }}
    >
      {name}
    </button>
  );
}
