/** What a chart over time can do: the panel knows this, and loads what draws it when it is needed. */
import type { Picture } from './series';

export interface TimeChartOptions {
  /** Pixels. */
  height: number;
  /** How many labels the vertical axis may have. */
  ticks: number;
  /** Pixels for those labels; charts that stand below each other have the same. */
  left: number;
  /** A value as text. */
  write: (value: number) => string;
}

export interface TimeChart {
  draw(picture: Picture): void;
  /** Mark a moment, null for none. */
  cursor(time: number | null): void;
  /** The moment at a distance from the left edge in pixels; null beside the plot. */
  timeAt(x: number): number | null;
  /** Let one series stand out, null for none. */
  emphasise(id: string | null): void;
  /** Take the colours of the theme again. */
  colour(): void;
  dispose(): void;
}

export interface ChartModule {
  createTimeChart(host: HTMLElement, options: TimeChartOptions): TimeChart;
}
