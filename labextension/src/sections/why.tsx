/** Why something waits: a sentence, and the facts as a small tree. */
import { useEffect, useState, type CSSProperties, type ReactNode } from 'react';
import { trans } from '../i18n';
import type { WhyLine } from '../model/queries';

const EVERY = 3000; // milliseconds between two questions about what is looked at

export interface WhyProps {
  title: string;
  sentence: string;
  lines: readonly WhyLine[];
  onTask?: (id: string) => void;
}

export function Why({ title, sentence, lines, onTask }: WhyProps) {
  // The first line is what the sentence begins with; a cell's id says nothing here.
  const below = lines.slice(1).filter(line => line.label !== 'cell');
  return (
    <div className="fl-Why">
      <b>{title}</b>
      <p>{quoted(sentence)}</p>
      {below.length > 0 && (
        <ul className="fl-Why-facts" aria-label={trans.__('The facts')}>
          {below.map((line, i) => (
            <li key={i} style={{ '--fl-depth': Math.max(0, line.depth - 1) } as CSSProperties}>
              {line.label !== '' && label(line, onTask)}
              {quoted(line.text)}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function label(line: WhyLine, onTask?: (id: string) => void): ReactNode {
  if (line.task !== '' && onTask) {
    return (
      <>
        <button
          type="button"
          className="fl-Tag"
          title={line.task}
          onClick={() => onTask(line.task)}
        >
          {line.label.replaceAll('`', '')}
        </button>{' '}
      </>
    );
  }
  return <span className="fl-quiet">{quoted(line.label)}</span>;
}

/** Text with what stands in backquotes as code; text, never markup, whatever it holds. */
export function quoted(text: string): ReactNode[] {
  return text
    .split(/`([^`\n]{1,200})`/)
    .map((part, i) => (i % 2 === 1 ? <code key={i}>{part}</code> : part));
}

/** Counts up every few seconds while `on`, and the page is looked at: time to ask again. */
export function useRounds(on: boolean): number {
  const [round, setRound] = useState(0);
  useEffect(() => {
    if (!on) {
      return;
    }
    const timer = setInterval(() => {
      if (document.visibilityState !== 'hidden') {
        setRound(n => n + 1);
      }
    }, EVERY);
    return () => clearInterval(timer);
  }, [on]);
  return round;
}
