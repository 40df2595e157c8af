/** The colours of the theme as numbers, which a canvas cannot take from a style sheet by itself. */
import { STAGE_CODES } from '../../model/graph/columns';
import type { Palette, Rgba } from './painter';

/** Reads the colours that hold for an element now. */
export function paletteOf(element: HTMLElement): Palette {
  const probe = document.createElement('span');
  probe.hidden = true;
  element.append(probe);
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const read = (colour: string): Rgba => {
    probe.style.color = '';
    probe.style.color = colour;
    if (context === null) {
      return [0.5, 0.5, 0.5, 1];
    }
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = getComputedStyle(probe).color;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return [r / 255, g / 255, b / 255, a / 255];
  };
  const palette: Palette = {
    stages: STAGE_CODES.map(stage =>
      read(`var(--fl-graph-${stage}, var(--fl-${stage}, #888888))`)
    ),
    line: read('var(--fl-graph-line, #999999)'),
    busy: read('var(--fl-running, #0072b2)'),
    surface: read('var(--jp-layout-color1, #ffffff)')
  };
  probe.remove();
  return palette;
}
