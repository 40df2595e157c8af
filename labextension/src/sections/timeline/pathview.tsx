/** What decided how long it took: the critical path, added up, with what can be done about it. */
import { count, duration, percent } from '../../format';
import { trans } from '../../i18n';
import type { Cause, Path } from './critical';
import type { Feed } from './feed';
import { css, type Paint } from './palette';
import { advice, causeText, functionName } from './words';

const SHOWN = 6;
const CAUSES: readonly Cause[] = ['program', 'argument', 'worker', 'parent', 'retry'];

export interface PathViewProps {
  feed: Feed;
  path: Path;
  paint: Paint;
  /** The task that it leads to, "" for all of the run. */
  target: string;
}

interface Line {
  key: string;
  name: string;
  seconds: number;
  steps: number;
  colour: string;
}

export function PathView({ feed, path, paint, target }: PathViewProps) {
  const total = path.end - path.begin;
  const byName = new Map<string, Line>();
  for (const { group, seconds, steps } of path.groups) {
    const name = functionName(feed, group);
    const line = byName.get(name) ?? {
      key: `f ${name}`,
      name,
      seconds: 0,
      steps: 0,
      colour: css(paint.slots[feed.slots.get(group)])
    };
    line.seconds += seconds;
    line.steps += steps;
    byName.set(name, line);
  }
  const gaps = CAUSES.filter(cause => path.gaps[cause] > 0.002 * total).map(cause => ({
    key: cause,
    name: causeText(cause),
    seconds: path.gaps[cause],
    steps: 0,
    colour: ''
  }));
  const functions = [...byName.values()];
  const rest = functions.slice(SHOWN).reduce((sum, line) => sum + line.seconds, 0);
  const lines: Line[] = [...functions.slice(0, SHOWN), ...gaps].sort(
    (a, b) => b.seconds - a.seconds
  );
  return (
    <div className="fl-Time-path" data-steps={path.steps.length}>
      <p>
        <b>{trans.__('Critical path')}</b>{' '}
        {target
          ? trans.__('to %1: %2', target, duration(total))
          : trans.__('of the run: %1', duration(total))}
        {', '}
        {trans._n('%2 step', '%2 steps', path.steps.length, count(path.steps.length))}
      </p>
      <div className="fl-Time-parts" aria-hidden="true">
        {lines.map(line => (
          <span
            key={line.key}
            className={line.colour ? '' : 'fl-Time-part-gap'}
            style={{
              flexGrow: line.seconds / (total || 1),
              background: line.colour || undefined
            }}
          />
        ))}
      </div>
      <ul>
        {lines.map(line => (
          <li key={line.key}>
            <i
              className={line.colour ? '' : 'fl-Time-part-gap'}
              style={{ background: line.colour || undefined }}
            />
            <span>
              {line.name}
              {line.steps > 1 && <small> × {count(line.steps)}</small>}
            </span>
            <span>{duration(line.seconds)}</span>
            <small>{percent(total > 0 ? line.seconds / total : 0)}</small>
          </li>
        ))}
        {rest > 0 && (
          <li>
            <i className="fl-Time-part-gap" />
            <span>{trans.__('other functions')}</span>
            <span>{duration(rest)}</span>
            <small>{percent(rest / total)}</small>
          </li>
        )}
      </ul>
      {advice(path).map(text => (
        <p key={text} className="fl-Hint">
          {text}
        </p>
      ))}
    </div>
  );
}
