import { useCallback, useEffect, useLayoutEffect, useState, type RefObject } from 'react';
import { windowOf, type Window } from './window';

// Without a document (tests render to text) there is nothing to measure.
const useMeasure = typeof document === 'undefined' ? useEffect : useLayoutEffect;
const FIRST_HEIGHT = 320; // before it is measured

export interface Viewport {
  rows: Window;
  /** Of the scrolling element, without its bars; 0 before it is known. */
  width: number;
  /** To be called when it has scrolled. */
  onScroll: () => void;
}

/** Which of `n` rows are to be drawn in a scrolling element; follows its size and its scrolling. */
export function useWindow(
  ref: RefObject<HTMLElement>,
  n: number,
  rowHeight: number,
  head: number
): Viewport {
  const [seen, setSeen] = useState(() => ({ ...windowOf(0, FIRST_HEIGHT, rowHeight, n), n }));
  const [width, setWidth] = useState(0);
  const look = useCallback(() => {
    const element = ref.current;
    if (element) {
      const height = element.clientHeight - head || FIRST_HEIGHT;
      const next = windowOf(element.scrollTop, height, rowHeight, n);
      setSeen(old =>
        old.first === next.first && old.end === next.end && old.n === n ? old : { ...next, n }
      );
      setWidth(element.clientWidth);
    }
  }, [ref, n, rowHeight, head]);
  useMeasure(look, [look]);
  useMeasure(() => {
    const element = ref.current;
    if (!element || typeof ResizeObserver === 'undefined') {
      return;
    }
    const observer = new ResizeObserver(look);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref, look]);
  const rows = { first: Math.min(seen.first, n), end: Math.min(seen.end, n) };
  return { rows, width, onScroll: look };
}
