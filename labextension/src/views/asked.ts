/** A question to the source, asked while its answer is looked at, and again when it may have changed. */
import { useEffect, useState } from 'react';
import type { Query } from '../model/queries';
import type { Source } from '../model/source';

export interface Asked<T> {
  /** The last answer to this question; kept while it is asked anew. */
  answer: T | null;
  /** Why there is no (newer) answer, "" while there is. */
  problem: string;
}

interface Held<T> extends Asked<T> {
  key: string;
}

/**
 * Asks when `query` changes or `version` does; null asks nothing. `version` says that things have
 * changed: a task's state, a round of a clock.
 */
export function useAsked<T>(
  source: Source,
  query: Query | null,
  version: string | number
): Asked<T> {
  const key = query === null ? '' : JSON.stringify(query);
  const [held, setHeld] = useState<Held<T>>({ key: '', answer: null, problem: '' });
  useEffect(() => {
    if (key === '') {
      return;
    }
    let current = true;
    source
      .ask<T>(JSON.parse(key) as Query)
      .then(answer => current && setHeld({ key, answer, problem: '' }))
      .catch(
        error =>
          current &&
          setHeld(old => ({
            key,
            answer: old.key === key ? old.answer : null,
            problem: messageOf(error)
          }))
      );
    return () => {
      current = false;
    };
  }, [source, key, version]);
  // What was answered stays on view when nothing can be asked any more.
  return key === '' || held.key === key ? held : { answer: null, problem: '' };
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
