/** What is under the pointer, in a card beside it. */
import { duration } from '../../format';
import type { Feed } from './feed';
import { css, type Paint } from './palette';
import { facts, functionName, parts, stateOf, stateText } from './words';

export interface CardProps {
  feed: Feed;
  span: number;
  lane: string;
  paint: Paint;
  /** Pixels, within the plot. */
  x: number;
  y: number;
  width: number;
}

const WIDTH = 230;

export function Card({ feed, span, lane, paint, x, y, width }: CardProps) {
  const { spans } = feed;
  const left = Math.max(0, Math.min(x + 14, width - WIDTH));
  const flags = spans.flags[span];
  const shown = parts(feed, span);
  const whole = shown.reduce((sum, part) => sum + part.seconds, 0);
  const colour = css(paint.slots[feed.slots.get(spans.group[span])]);
  return (
    <div className="fl-Time-card" style={{ left, top: y + 16, width: WIDTH }}>
      <p className="fl-Time-card-name">
        <i style={{ background: colour }} />
        <b>{functionName(feed, spans.group[span])}</b>
        <span className={stateOf(flags) === 'failed' ? 'fl-bad' : 'fl-quiet'}>
          {stateText(flags)}
        </span>
      </p>
      <div className="fl-Time-parts">
        {whole > 0 &&
          shown.map(part => (
            <span
              key={part.key}
              className={`fl-Time-part-${part.key}`}
              style={{
                flexGrow: part.seconds / whole,
                background: part.key === 'running' ? colour : undefined
              }}
            />
          ))}
      </div>
      <dl>
        {shown.map(part => (
          <div key={part.key}>
            <dt>{part.name}</dt>
            <dd>{duration(part.seconds)}</dd>
          </div>
        ))}
        {facts(feed, span, lane).map(fact => (
          <div key={fact.name}>
            <dt>{fact.name}</dt>
            <dd>{fact.text}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
