/** Where the time of a task went: one bar, and its parts in words. */
import { duration } from '../../format';
import { trans } from '../../i18n';
import type { TaskTimes } from '../../answers';

export type TimePart = 'waited' | 'reading' | 'running' | 'storing';
const PARTS: readonly TimePart[] = ['waited', 'reading', 'running', 'storing'];
/** Narrower than this share a part would not be seen. */
const LEAST = 0.012;

/** How wide each part is drawn, of one; what is short is still seen. */
export function shares(times: Pick<TaskTimes, TimePart>): Array<[TimePart, number]> {
  const there = PARTS.filter(part => times[part] > 0);
  const sum = there.reduce((all, part) => all + times[part], 0);
  const wide = there.map((part): [TimePart, number] => [
    part,
    Math.max(LEAST, times[part] / sum)
  ]);
  const all = wide.reduce((total, [, share]) => total + share, 0);
  return wide.map(([part, share]) => [part, share / all]);
}

export function Times({ times }: { times: Pick<TaskTimes, TimePart> }) {
  const texts: Record<TimePart, string> = {
    waited: trans.__('waited'),
    reading: trans.__('read arguments'),
    running: trans.__('ran'),
    storing: trans.__('stored results')
  };
  const parts = shares(times);
  if (parts.length === 0) {
    return null;
  }
  return (
    <div className="fl-Times">
      <div className="fl-Bar" aria-hidden="true">
        {parts.map(([part, share]) => (
          <span
            key={part}
            className={`fl-Bar-part fl-time-${part}`}
            style={{ flexGrow: share }}
          />
        ))}
      </div>
      <ul>
        {parts.map(([part]) => (
          <li key={part}>
            <i className={`fl-time-${part}`} aria-hidden="true" />
            {texts[part]} <b>{duration(times[part])}</b>
          </li>
        ))}
      </ul>
    </div>
  );
}
