/** Small choices of a person (a tab, a mode), kept while what shows them is folded away. */
import { useCallback, useState } from 'react';

const kept = new Map<string, unknown>();

export function useKept<T>(key: string, first: T): [T, (value: T) => void] {
  const [value, setValue] = useState<T>(() => (kept.has(key) ? (kept.get(key) as T) : first));
  const keep = useCallback(
    (next: T) => {
      kept.set(key, next);
      setValue(next);
    },
    [key]
  );
  return [value, keep];
}
