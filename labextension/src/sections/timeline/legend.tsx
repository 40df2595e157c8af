/** The functions and their colours, the one that took most first; a click shows just one of them. */
import { memo, useMemo } from 'react';
import { duration } from '../../format';
import { trans } from '../../i18n';
import { NO_FILTER, type Filter } from '../../views/model';
import type { Feed } from './feed';
import { COLOURS, css, type Paint } from './palette';
import { FAILED } from './spans';
import { functionName } from './words';

const SHOWN = 10;

export interface LegendProps {
  feed: Feed;
  version: number;
  paint: Paint;
  filter: Filter;
  onFilter: (change: Partial<Filter>) => void;
}

interface Entry {
  name: string;
  groups: number[];
  slot: number;
  seconds: number;
}

export const Legend = memo(function Legend(props: LegendProps) {
  const { feed, version, paint, filter, onFilter } = props;
  const { entries, failed, moved } = useMemo(
    () => contents(feed),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [feed, version]
  );
  return (
    <ul className="fl-Time-legend" aria-label={trans.__('Functions')}>
      {entries.slice(0, SHOWN).map(entry => {
        const only =
          entry.groups.length === 1
            ? filter.group === entry.groups[0]
            : filter.text === entry.name;
        return (
          <li key={entry.name}>
            <button
              type="button"
              aria-pressed={only}
              className={only ? 'fl-Time-on' : ''}
              title={trans.__('%1: %2 in tasks', entry.name, duration(entry.seconds))}
              onClick={() =>
                onFilter(
                  only
                    ? { group: NO_FILTER.group, text: NO_FILTER.text }
                    : entry.groups.length === 1
                      ? { group: entry.groups[0], text: '' }
                      : { group: null, text: entry.name }
                )
              }
            >
              <i style={{ background: css(paint.slots[Math.min(entry.slot, COLOURS)]) }} />
              {entry.name} <small>{duration(entry.seconds)}</small>
            </button>
          </li>
        );
      })}
      {entries.length > SHOWN && (
        <li>
          <small>{trans._n('and %1 more', 'and %1 more', entries.length - SHOWN)}</small>
        </li>
      )}
      {moved && (
        <li className="fl-Time-sign">
          <i className="fl-Time-hatch" /> <small>{trans.__('reads, stores')}</small>
        </li>
      )}
      {failed && (
        <li className="fl-Time-sign">
          <i className="fl-Time-failed" /> <small>{trans.__('failed')}</small>
        </li>
      )}
    </ul>
  );
});

function contents(feed: Feed): { entries: Entry[]; failed: boolean; moved: boolean } {
  const { spans } = feed;
  const sums = new Map<number, number>();
  let failed = false;
  let moved = false;
  for (let i = 0; i < spans.count; i += 1) {
    const group = spans.group[i];
    const took = spans.end[i] - spans.start[i];
    sums.set(group, (sums.get(group) ?? 0) + took);
    failed ||= (spans.flags[i] & FAILED) !== 0;
    moved ||= spans.reading[i] + spans.storing[i] > 0.02 * took && took > 0.001;
  }
  const byName = new Map<string, Entry>();
  for (const [group, seconds] of sums) {
    const name = functionName(feed, group);
    const entry = byName.get(name) ?? {
      name,
      groups: [],
      slot: feed.slots.get(group),
      seconds: 0
    };
    entry.groups.push(group);
    entry.seconds += seconds;
    byName.set(name, entry);
  }
  const entries = [...byName.values()].sort(
    (a, b) => b.seconds - a.seconds || (a.name < b.name ? -1 : 1)
  );
  return { entries, failed, moved };
}
