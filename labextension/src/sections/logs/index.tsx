/** What tasks and workers print: searchable, of all or of one worker or cell; follows the end. */
import { useEffect, useMemo, useState } from 'react';
import { trans } from '../../i18n';
import { cellName } from '../../views/cell';
import { useKept } from '../../views/kept';
import { Empty } from '../../views/parts';
import type { SectionProps, SectionSpec } from '../../views/section';
import { LogLines } from './lines';
import type { LogSource } from './useLogs';

/** Of more workers or cells, a list to choose from is no help. */
const CHOICES = 100;
const TYPING = 300; // milliseconds without a key before a text is looked for

type Stream = '' | 'out' | 'err';

export function Logs({ model, data, live, onSelect }: SectionProps) {
  const [from, setFrom] = useKept<string>('logs-from', '');
  const [stream, setStream] = useKept<Stream>('logs-stream', '');
  const [typed, setTyped] = useKept<string>('logs-search', '');
  const [search, setSearch] = useState(typed);
  useEffect(() => {
    const timer = setTimeout(() => setSearch(typed.trim()), TYPING);
    return () => clearTimeout(timer);
  }, [typed]);
  const cells = useMemo(
    () => [...new Set([...data.groups.values()].map(group => group.origin).filter(Boolean))],
    [data.groups]
  );
  const [kind, id] = from.split(' ', 2) as ['' | 'worker' | 'cell', string | undefined];
  const there =
    kind === '' ||
    (kind === 'cell' ? cells.includes(id!) : data.workers.some(worker => worker.id === id));
  const source: LogSource = kind === '' ? {} : { [kind]: id };
  if (!live && model.source.kind === 'live') {
    return <Empty>{trans.__('The output is shown while the runtime is there.')}</Empty>;
  }
  return (
    <div className="fl-Logs">
      <div className="fl-Table-tools">
        <input
          type="search"
          className="fl-Input"
          value={typed}
          maxLength={200}
          placeholder={trans.__('Search')}
          aria-label={trans.__('Search the output')}
          spellCheck={false}
          onChange={event => setTyped(event.target.value)}
        />
        <select
          className="fl-Select"
          aria-label={trans.__('Whose output')}
          value={from}
          onChange={event => setFrom(event.target.value)}
        >
          <option value="">{trans.__('All workers')}</option>
          {!there && <option value={from}>{trans.__('One that is gone')}</option>}
          {cells.length > 0 && (
            <optgroup label={trans.__('Cells')}>
              {cells.slice(-CHOICES).map(origin => (
                <option key={origin} value={`cell ${origin}`}>
                  {cellName(model, origin)}
                </option>
              ))}
            </optgroup>
          )}
          <optgroup label={trans.__('Workers')}>
            {data.workers.slice(0, CHOICES).map(worker => (
              <option key={worker.id} value={`worker ${worker.id}`}>
                {trans.__('process %1', worker.pid)}
                {worker.actor !== '' && ` · ${worker.actor}`}
              </option>
            ))}
          </optgroup>
        </select>
        <span className="fl-Facets" role="group" aria-label={trans.__('Stream')}>
          {(['out', 'err'] as const).map(one => (
            <button
              key={one}
              type="button"
              className="fl-Facet"
              aria-pressed={stream === one}
              onClick={() => setStream(stream === one ? '' : one)}
            >
              {one === 'out' ? 'stdout' : 'stderr'}
            </button>
          ))}
        </span>
      </div>
      <LogLines
        model={model}
        source={source}
        live={live}
        search={search}
        stream={stream}
        onSelect={onSelect}
      />
    </div>
  );
}

export const logs: SectionSpec = {
  id: 'logs',
  title: () => trans.__('Logs'),
  summary: () => '',
  Body: Logs
};
