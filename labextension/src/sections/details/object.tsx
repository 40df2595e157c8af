/** One object: its size and type, who made it, who holds it, why it is kept, how to let it go. */
import { bytes, clock, count } from '../../format';
import { trans } from '../../i18n';
import type { HolderView, ObjectsAnswer } from '../../answers';
import { useAsked } from '../../views/asked';
import { CellLink } from '../../views/cell';
import { Empty, Snippet } from '../../views/parts';
import { useRounds } from '../why';
import { Fact, Facts, Sub } from './facts';
import type { DetailProps } from './props';

const LOOKED_AT = 200; // of the largest objects

export function ObjectDetail({ id, model, data, live, onSelect }: DetailProps) {
  const askable = live || model.source.kind === 'replay';
  const round = useRounds(live);
  const { answer, problem } = useAsked<ObjectsAnswer>(
    model.source,
    askable ? { what: 'objects', sort: 'size', limit: LOOKED_AT } : null,
    round
  );
  const row = answer?.rows.find(object => object.id === id);
  const known = data.objects.find(object => object.id === id);
  const maker = id.slice(0, 48); // the beginning of an object's id is its task's
  if (!row && !known) {
    return (
      <Empty>
        {problem ||
          (answer === null
            ? trans.__('Asking the runtime about this object…')
            : trans.__(
                'It is not among the largest objects any more; it may have been freed.'
              ))}
      </Empty>
    );
  }
  const creator = row?.creator ?? known?.creator ?? '';
  return (
    <div className="fl-Detail">
      {row && row.why !== '' && (
        <p className="fl-Why">
          <b>{trans.__('Why it is kept')}</b>
          {row.why}
        </p>
      )}
      {row && row.release !== '' && (
        <>
          <Sub>{trans.__('This would free it')}</Sub>
          <Snippet code={row.release} />
        </>
      )}
      <Facts>
        <Fact name={trans.__('Size')}>{bytes(row?.size ?? known?.size ?? 0)}</Fact>
        <Fact name={trans.__('Type')} title={row?.type}>
          {row?.type.slice(0, 200)}
        </Fact>
        <Fact name={trans.__('Made by')}>
          {creator === 'put' ? (
            'put'
          ) : (
            <button
              type="button"
              className="fl-Link"
              onClick={() => onSelect({ kind: 'task', id: maker })}
            >
              {creator.slice(0, 200)}
            </button>
          )}
        </Fact>
        <Fact name={trans.__('Cell')}>
          {(row?.origin || known?.origin) && (
            <CellLink
              model={model}
              origin={row?.origin || known?.origin || ''}
              line={row && row.line > 0 ? row.line : undefined}
            />
          )}
        </Fact>
        {row && row.line > 0 && (
          <Fact name={trans.__('Line')} title={row.file}>
            {count(row.line)}
          </Fact>
        )}
        {row && row.made > 0 && <Fact name={trans.__('Made at')}>{clock(row.made)}</Fact>}
        <Fact name={trans.__('Place')}>{row && placeText(row.place)}</Fact>
        <Fact name={trans.__('Variables')}>{row?.variables.join(', ').slice(0, 300)}</Fact>
        <Fact name={trans.__('Needed by')}>{row?.used_by.join(', ').slice(0, 300)}</Fact>
        <Fact name={trans.__('Holders')}>
          {count(row?.holders_count ?? known?.holders ?? 0)}
        </Fact>
      </Facts>
      <Holders label={trans.__('Held by')} holders={row?.holders ?? []} />
      <Holders label={trans.__('Mapped by')} holders={row?.mapped ?? []} />
      {problem !== '' && <p className="fl-Hint">{problem}</p>}
    </div>
  );
}

function placeText(place: string): string {
  const texts: Record<string, string> = {
    node: trans.__('with the runtime'),
    memory: trans.__('shared memory'),
    mapped: trans.__('shared memory, in use'),
    disk: trans.__('disk')
  };
  return texts[place] ?? place;
}

function Holders({ label, holders }: { label: string; holders: readonly HolderView[] }) {
  if (holders.length === 0) {
    return null;
  }
  return (
    <div className="fl-Related">
      <span>{label}</span>
      {holders.map((holder, i) => (
        <span key={i} className="fl-Chip">
          {(holder.what || holder.role).slice(0, 100)} · {holder.pid}
        </span>
      ))}
    </div>
  );
}
