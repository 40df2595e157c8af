/** The largest objects: what they are, who made them and where, why they are kept, what frees them. */
import { memo, useMemo, useRef, useState } from 'react';
import type { ObjectView, StoreView } from '../../events';
import { bytes, duration } from '../../format';
import { trans } from '../../i18n';
import type { ObjectRow, ObjectsAnswer } from '../../model/queries';
import { useAsked } from '../../views/asked';
import { CellLink } from '../../views/cell';
import type { PanelModel } from '../../views/model';
import type { Selection } from '../../views/section';
import type { Column } from '../../views/table/model';
import { Table } from '../../views/table/table';
import {
  fromEvent,
  nextRound,
  placeInCode,
  placeText,
  plain,
  releases,
  type Round
} from './model';

export interface LargestProps {
  model: PanelModel;
  now: StoreView;
  objects: readonly ObjectView[];
  /** Somebody is there who can be asked. */
  askable: boolean;
  wide: boolean;
  selected: string;
  onSelect: (selection: Selection) => void;
}

const LIMIT = 200;

export const Largest = memo(function Largest(props: LargestProps) {
  const { model, now, objects, askable } = props;
  const round = useRef<Round | null>(null);
  round.current = nextRound(round.current, now);
  const { answer } = useAsked<ObjectsAnswer>(
    model.source,
    askable ? { what: 'objects', sort: 'size', limit: LIMIT } : null,
    round.current.time
  );
  const rows = useMemo(() => answer?.rows ?? objects.map(fromEvent), [answer, objects]);
  const columns = useMemo(
    () => columnsOf(model, answer?.now ?? null, Math.max(1, ...rows.map(r => r.size))),
    [model, answer, rows]
  );
  if (rows.length === 0) {
    return null;
  }
  const free = releases(rows, now.used + now.spilled);
  return (
    <>
      {free.length > 0 && (
        <>
          <h4 className="fl-Sub">{trans.__('What could be let go')}</h4>
          <ul className="fl-Releases">
            {free.map(release => (
              <li key={release.code}>
                <code>{release.code}</code>
                <Copy text={release.code} />
                <span>
                  {trans._n(
                    'frees %2, one object',
                    'frees %2 in %1 objects',
                    release.count,
                    bytes(release.size)
                  )}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      <h4 className="fl-Sub">{trans.__('Largest objects')}</h4>
      <Table
        id="objects"
        label={trans.__('Largest objects')}
        rows={rows}
        columns={columns}
        rowKey={row => row.id}
        sort={{ column: 'size', down: true }}
        selected={props.selected}
        onRow={row => props.onSelect({ kind: 'object', id: row.id })}
        lines={props.wide ? 16 : 8}
      />
    </>
  );
});

function columnsOf(
  model: PanelModel,
  now: number | null,
  largest: number
): readonly Column<ObjectRow>[] {
  return [
    {
      id: 'size',
      title: trans.__('Size'),
      value: row => row.size,
      text: row => bytes(row.size),
      cell: row => (
        <span className="fl-Size">
          <i style={{ transform: `scaleX(${(row.size / largest).toFixed(4)})` }} />
          {bytes(row.size)}
        </span>
      ),
      width: 72,
      align: 'end',
      downFirst: true
    },
    {
      id: 'type',
      title: trans.__('Type'),
      value: row => row.type || null,
      text: row => row.type || '–',
      width: 92,
      grow: 3
    },
    {
      id: 'creator',
      title: trans.__('Made by'),
      value: row => row.creator,
      text: row => [row.creator, row.origin, row.file].join(' '),
      cell: (row, active) => <Maker model={model} row={row} active={active} />,
      width: 84,
      grow: 2
    },
    {
      id: 'age',
      title: trans.__('Age'),
      value: row => (row.made > 0 && now !== null ? now - row.made : null),
      text: row => (row.made > 0 && now !== null ? duration(Math.max(0, now - row.made)) : '–'),
      width: 58,
      from: 420,
      align: 'end',
      downFirst: true
    },
    {
      id: 'place',
      title: trans.__('Where'),
      value: placeText,
      width: 72,
      from: 340
    },
    {
      id: 'why',
      title: trans.__('Kept by'),
      value: row => row.holders_count,
      text: row => plain(row.why),
      width: 130,
      grow: 4,
      from: 520,
      downFirst: true,
      hint: trans.__('Why the object is still there')
    }
  ];
}

function Maker({ model, row, active }: { model: PanelModel; row: ObjectRow; active: boolean }) {
  const line = row.line > 0 ? row.line : undefined;
  const place = row.origin === '' ? placeInCode(row) : '';
  return (
    <span className="fl-Maker" title={row.file}>
      {row.creator}{' '}
      {row.origin !== '' ? (
        <CellLink model={model} origin={row.origin} line={line} focusable={active} />
      ) : (
        place !== '' && <small>{place}</small>
      )}
    </span>
  );
}

function Copy({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <button
      type="button"
      className="fl-Link"
      aria-label={trans.__('Copy “%1”', text)}
      onBlur={() => setCopied(false)}
      onClick={() =>
        void navigator.clipboard
          .writeText(text)
          .then(() => setCopied(true))
          .catch(() => setCopied(false))
      }
    >
      {copied ? trans.__('Copied') : trans.__('Copy')}
    </button>
  );
}
