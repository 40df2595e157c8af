import { useEffect, useLayoutEffect, useState, type RefObject } from 'react';

// Without a document (tests render to text) there is nothing to measure.
const useMeasure = typeof document === 'undefined' ? useEffect : useLayoutEffect;

/** The width of an element, followed; 0 before it is known. */
export function useWidth(ref: RefObject<HTMLElement>): number {
  const [width, setWidth] = useState(0);
  useMeasure(() => {
    const element = ref.current;
    if (!element || typeof ResizeObserver === 'undefined') {
      return;
    }
    const observer = new ResizeObserver(entries => {
      setWidth(Math.floor(entries[entries.length - 1].contentRect.width));
    });
    observer.observe(element);
    setWidth(element.clientWidth);
    return () => observer.disconnect();
  }, [ref]);
  return width;
}
