/** Above the picture: where one is, what is looked for, and how it is shown. */
import { useState, type ReactNode } from 'react';
import { count } from '../../format';
import { trans } from '../../i18n';
import type { Arrangement } from '../../model/graph/grid';
import { cellsOf, isActive, workerName } from '../../model/graph/matching';
import { STAGES, type StageCounts } from '../../model/selectors';
import type { Data } from '../../model/state';
import { NO_FILTER, type Filter, type PanelModel } from '../../views/model';
import { STAGE_TEXT } from '../../views/parts';

export interface Step {
  text: string;
  /** Leads back there; absent for where one is. */
  go?: () => void;
}

export interface ToolbarProps {
  model: PanelModel;
  data: Data;
  filter: Filter;
  path: readonly Step[];
  found: string;
  asTable: boolean;
  onTable: () => void;
  onTidy: () => void;
  /** Enter in the search field. */
  onFind: () => void;
  /** What this level has beside. */
  children?: ReactNode;
}

export function Toolbar(props: ToolbarProps) {
  const { model, data, filter, path, asTable } = props;
  const [open, setOpen] = useState(false);
  const others = isActive({ ...filter, text: '', state: '' });
  return (
    <div className="fl-GraphBar">
      {path.length > 1 && (
        <nav className="fl-GraphBar-path" aria-label={trans.__('Level of the graph')}>
          <ol>
            {path.map(({ text, go }, i) => (
              <li key={i}>
                {go ? (
                  <button type="button" className="fl-Link" onClick={go}>
                    {i === 0 && <span aria-hidden="true">‹ </span>}
                    {text}
                  </button>
                ) : (
                  <b aria-current="location" title={text}>
                    {text}
                  </b>
                )}
              </li>
            ))}
          </ol>
        </nav>
      )}
      <div className="fl-GraphBar-tools" role="group" aria-label={trans.__('Search and view')}>
        <input
          type="search"
          className="fl-Input"
          placeholder={trans.__('Search')}
          aria-label={trans.__('Search functions and tasks')}
          value={filter.text}
          onChange={event => model.setFilter({ text: event.currentTarget.value })}
          onKeyDown={event => {
            if (event.key === 'Enter') {
              props.onFind();
            }
          }}
        />
        {props.children}
        <button
          type="button"
          className={`fl-Tool ${others ? 'fl-mod-on' : ''}`}
          aria-expanded={open}
          title={trans.__('Filter by cell and worker')}
          aria-label={trans.__('Filter by cell and worker')}
          onClick={() => setOpen(!open)}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M2 3.5h12M4.5 8h7M7 12.5h2" />
          </svg>
        </button>
        <button
          type="button"
          className="fl-Tool"
          title={trans.__('Arrange anew')}
          aria-label={trans.__('Arrange anew')}
          onClick={props.onTidy}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M13 8a5 5 0 1 1-1.6-3.7M13 2v3h-3" />
          </svg>
        </button>
        <button
          type="button"
          className={`fl-Tool ${asTable ? 'fl-mod-on' : ''}`}
          aria-pressed={asTable}
          title={trans.__('Show as a table')}
          aria-label={trans.__('Show as a table')}
          onClick={props.onTable}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M2.5 3h11v10h-11zM2.5 6.5h11M2.5 9.8h11M6.5 6.5V13" />
          </svg>
        </button>
      </div>
      {(open || others) && <Filters model={model} data={data} filter={filter} />}
      {isActive(filter) && (
        <p className="fl-GraphBar-found" role="status">
          <span>{props.found}</span>
          <button type="button" className="fl-Link" onClick={() => model.setFilter(NO_FILTER)}>
            {trans.__('Show all')}
          </button>
        </p>
      )}
    </div>
  );
}

function Filters({ model, data, filter }: Pick<ToolbarProps, 'model' | 'data' | 'filter'>) {
  const cells = cellsOf(data.groups.values());
  const functions = [...data.groups.values()].sort((a, b) => a.name.localeCompare(b.name));
  return (
    <div className="fl-GraphBar-filters">
      <Choice
        label={trans.__('Cell')}
        all={trans.__('All cells')}
        value={filter.cell}
        options={cells.map((cell, i) => [cell, cellText(model, cell, i)])}
        onChange={cell => model.setFilter({ cell })}
      />
      <Choice
        label={trans.__('Function')}
        all={trans.__('All functions')}
        value={filter.group === null ? '' : String(filter.group)}
        options={functions.map(group => [String(group.id), group.name])}
        onChange={id => model.setFilter({ group: id === '' ? null : Number(id) })}
      />
      <Choice
        label={trans.__('Worker')}
        all={trans.__('All workers')}
        value={filter.worker}
        options={data.workers.map(worker => [worker.id, workerName(worker)])}
        onChange={worker => model.setFilter({ worker })}
      />
    </div>
  );
}

/** The cell as its notebook shows it, or its turn among those that have functions. */
function cellText(model: PanelModel, origin: string, index: number): string {
  const titled = model as { cellTitle?: ((origin: string) => string | null) | null };
  return titled.cellTitle?.(origin) ?? trans.__('Cell %1', index + 1);
}

interface ChoiceProps {
  label: string;
  all: string;
  value: string;
  options: ReadonlyArray<readonly [string, string]>;
  onChange: (value: string) => void;
}

function Choice({ label, all, value, options, onChange }: ChoiceProps) {
  return (
    <select
      className="fl-Select"
      aria-label={label}
      value={value}
      disabled={options.length === 0}
      onChange={event => onChange(event.currentTarget.value)}
    >
      <option value="">{all}</option>
      {value && !options.some(([id]) => id === value) && (
        <option value={value}>{trans.__('(gone)')}</option>
      )}
      {options.map(([id, text]) => (
        <option key={id} value={id}>
          {text.slice(0, 80)}
        </option>
      ))}
    </select>
  );
}

/** How a group's squares are arranged. */
export function Arranged(props: { by: Arrangement; onChange: (by: Arrangement) => void }) {
  const texts: Record<Arrangement, string> = {
    order: trans.__('by order'),
    depth: trans.__('by depth'),
    time: trans.__('by time')
  };
  return (
    <select
      className="fl-Select"
      aria-label={trans.__('Arrange the tasks')}
      value={props.by}
      onChange={event => props.onChange(event.currentTarget.value as Arrangement)}
    >
      {(Object.keys(texts) as Arrangement[]).map(by => (
        <option key={by} value={by}>
          {texts[by]}
        </option>
      ))}
    </select>
  );
}

/** The states with their counts: what the colours mean, and at a click the only ones that are lit. */
export function StateChips(props: { model: PanelModel; counts: StageCounts; chosen: string }) {
  const { model, counts, chosen } = props;
  const shown = STAGES.filter(stage => counts[stage] > 0 || stage === chosen);
  return (
    <div className="fl-Chips" role="group" aria-label={trans.__('Filter by state')}>
      {shown.map(stage => (
        <button
          key={stage}
          type="button"
          className={`fl-StateChip ${chosen && chosen !== stage ? 'fl-mod-off' : ''}`}
          aria-pressed={chosen === stage}
          data-state={stage}
          onClick={() => model.setFilter({ state: chosen === stage ? '' : stage })}
        >
          <i className={`fl-fill-${stage}`} />
          {STAGE_TEXT[stage]} <b>{count(counts[stage])}</b>
        </button>
      ))}
    </div>
  );
}
