/** The colours of the theme, for canvases, which cannot take them from a style sheet by themselves. */
import { useEffect, useLayoutEffect, useState, type RefObject } from 'react';
import { paintOf, type Paint } from './palette';
import { parseColour, type Rgb } from './raster';

// Without a document (tests render to text) there are no colours to read.
const useLook = typeof document === 'undefined' ? useEffect : useLayoutEffect;

const DEFAULT = paintOf({
  background: [255, 255, 255],
  text: [33, 33, 33],
  failed: [213, 94, 0],
  accent: '#1976d2'
});

export interface Look {
  paint: Paint;
  font: string;
}

/** `theme` changes whenever colours may have changed. */
export function usePaint(host: RefObject<HTMLElement>, theme: string): Look {
  const [look, setLook] = useState<Look>({ paint: DEFAULT, font: 'sans-serif' });
  useLook(() => {
    if (host.current) {
      setLook(lookOf(host.current));
    }
  }, [host, theme]);
  return look;
}

function lookOf(element: HTMLElement): Look {
  const style = getComputedStyle(element);
  const pen = document.createElement('canvas').getContext('2d');
  // A canvas knows all names of colours, and says them in one way.
  const read = (text: string, other: Rgb): Rgb => {
    if (!pen || !text.trim()) {
      return other;
    }
    pen.fillStyle = '#010203';
    pen.fillStyle = text.trim();
    return (pen.fillStyle !== '#010203' && parseColour(pen.fillStyle)) || other;
  };
  const value = (name: string): string => style.getPropertyValue(name);
  const accent = read(value('--jp-brand-color1'), [25, 118, 210]);
  return {
    paint: paintOf({
      background: read(value('--jp-layout-color1'), [255, 255, 255]),
      text: read(style.color, [33, 33, 33]),
      failed: read(value('--fl-failed'), [213, 94, 0]),
      accent: `rgb(${accent.join(', ')})`
    }),
    font: style.fontFamily || 'sans-serif'
  };
}
