/** Colours of functions, told apart with any colour vision: Okabe and Ito's, and three like them. */
import type { Rgb } from './raster';
import { lightness, mixed, packed } from './raster';

const LIGHT: readonly Rgb[] = [
  ...([
    [0, 114, 178],
    [230, 159, 0],
    [0, 158, 115],
    [204, 121, 167],
    [86, 180, 233],
    [143, 127, 0],
    [140, 107, 177],
    [166, 118, 29]
  ] as const)
];
const DARK: readonly Rgb[] = [
  ...([
    [86, 180, 233],
    [240, 180, 41],
    [43, 182, 141],
    [214, 143, 184],
    [59, 138, 196],
    [190, 172, 40],
    [172, 143, 209],
    [199, 153, 70]
  ] as const)
];
const OTHER: Rgb = [138, 138, 138];
export const COLOURS = LIGHT.length;
const SHADES = 16;

export interface Paint {
  background: Rgb;
  /** The band of a lane in which nothing runs. */
  idle: number;
  line: number;
  /** Full colours of slots, and what text on them is written in. */
  slots: readonly Rgb[];
  ink: readonly string[];
  failed: Rgb;
  /** Packed: by slot, then by shade; the last one is the full colour. */
  shades: readonly Uint32Array[];
  failedShades: Uint32Array;
  /** Packed: the lines of what reads and stores, by slot. */
  hatch: readonly number[];
  slash: number;
  text: string;
  quiet: string;
  accent: string;
}

export interface ThemeColours {
  background: Rgb;
  text: Rgb;
  failed: Rgb;
  accent: string;
}

export function paintOf(theme: ThemeColours): Paint {
  const { background, text } = theme;
  const slots = [...(lightness(background) < 0.5 ? DARK : LIGHT), OTHER];
  const shades = (colour: Rgb): Uint32Array =>
    Uint32Array.from({ length: SHADES }, (_, k) =>
      // What is hardly busy is still seen.
      packed(mixed(colour, background, 0.3 + (0.7 * k) / (SHADES - 1)))
    );
  return {
    background,
    idle: packed(mixed(text, background, 0.055)),
    line: packed(mixed(text, background, 0.12)),
    slots,
    ink: slots.map(c => (lightness(c) > 0.58 ? '#111111' : '#ffffff')),
    failed: theme.failed,
    shades: slots.map(shades),
    failedShades: shades(theme.failed),
    hatch: slots.map(c => packed(mixed(background, c, 0.62))),
    slash: packed(mixed(background, theme.failed, 0.75)),
    text: css(text),
    quiet: css(mixed(text, background, 0.66)),
    accent: theme.accent
  };
}

export function shade(share: number): number {
  return Math.max(0, Math.min(SHADES - 1, Math.round(share * (SHADES - 1))));
}

export function css(colour: Rgb): string {
  return `rgb(${colour.join(', ')})`;
}

/**
 * Which colour each group has: the first functions that are seen keep theirs, the others share grey.
 * A function's runs in several cells are groups of one name, and have one colour.
 */
export class Slots {
  private readonly byName = new Map<string, number>();
  private readonly byGroup = new Map<number, number>();

  of(group: number, name: string): number {
    let slot = this.byGroup.get(group);
    if (slot === undefined) {
      slot = this.byName.get(name);
      if (slot === undefined) {
        slot = Math.min(this.byName.size, COLOURS);
        this.byName.set(name, slot);
      }
      this.byGroup.set(group, slot);
    }
    return slot;
  }

  get(group: number): number {
    return this.byGroup.get(group) ?? COLOURS;
  }
}
