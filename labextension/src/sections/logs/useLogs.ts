/** Asks for lines of output, and for what is new while they are looked at. */
import { useEffect, useState } from 'react';
import type { LogsAnswer } from '../../answers';
import { NO_LINES, taken, type Held } from '../../model/loglines';
import type { Source } from '../../model/source';
import { messageOf } from '../../views/asked';

const EVERY = 1000; // milliseconds between two questions while lines come

/** Whose output. */
export interface LogSource {
  worker?: string;
  task?: string;
  cell?: string;
}

export interface Logs extends Held {
  problem: string;
  /** No answer yet. */
  asking: boolean;
}

interface Known {
  key: string;
  held: Held;
  problem: string;
}

export function useLogs(
  source: Source,
  from: LogSource,
  search: string,
  limit: number,
  follow: boolean
): Logs {
  const key = JSON.stringify({ ...from, search, limit });
  const [known, setKnown] = useState<Known>({ key: '', held: NO_LINES, problem: '' });
  useEffect(() => {
    let current = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let held = NO_LINES;
    let asking = false;
    const ask = (): void => {
      timer = undefined;
      asking = true;
      source
        .ask<LogsAnswer>({ what: 'logs', ...JSON.parse(key), after: held.cursor })
        .then(answer => {
          if (current) {
            held = taken(held, answer);
            const next = held;
            setKnown(old =>
              old.key === key && old.held === next && old.problem === ''
                ? old
                : { key, held: next, problem: '' }
            );
          }
        })
        .catch(error => {
          if (current) {
            const next = held;
            setKnown({ key, held: next, problem: messageOf(error) });
          }
        })
        .finally(() => {
          asking = false;
          if (current && follow && document.visibilityState !== 'hidden') {
            timer = setTimeout(ask, EVERY);
          }
        });
    };
    // Nothing is asked, and no clock runs, while the page is in the background.
    const wake = (): void => {
      if (follow && !asking && timer === undefined && document.visibilityState !== 'hidden') {
        ask();
      }
    };
    ask();
    document.addEventListener('visibilitychange', wake);
    return () => {
      current = false;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', wake);
    };
  }, [source, key, follow]);
  const mine = known.key === key;
  return {
    ...(mine ? known.held : NO_LINES),
    problem: mine ? known.problem : '',
    asking: !mine
  };
}
