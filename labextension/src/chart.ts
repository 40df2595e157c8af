/**
 * The object store over time, drawn by BokehJS. Loaded on demand: this module is the only one that
 * imports BokehJS, and takes just the models that it uses. Colours come from the theme by code.
 */
import { show } from '@bokeh/bokehjs/build/js/lib/api/io';
import { Span } from '@bokeh/bokehjs/build/js/lib/models/annotations/span';
import { DatetimeAxis } from '@bokeh/bokehjs/build/js/lib/models/axes/datetime_axis';
import { LinearAxis } from '@bokeh/bokehjs/build/js/lib/models/axes/linear_axis';
import { DatetimeTickFormatter } from '@bokeh/bokehjs/build/js/lib/models/formatters/datetime_tick_formatter';
import { TickFormatter } from '@bokeh/bokehjs/build/js/lib/models/formatters/tick_formatter';
import { Line } from '@bokeh/bokehjs/build/js/lib/models/glyphs/line';
import { VArea } from '@bokeh/bokehjs/build/js/lib/models/glyphs/varea';
import { Grid } from '@bokeh/bokehjs/build/js/lib/models/grids/grid';
import { Plot } from '@bokeh/bokehjs/build/js/lib/models/plots/plot';
import { Range1d } from '@bokeh/bokehjs/build/js/lib/models/ranges/range1d';
import { GlyphRenderer } from '@bokeh/bokehjs/build/js/lib/models/renderers/glyph_renderer';
import { LinearScale } from '@bokeh/bokehjs/build/js/lib/models/scales/linear_scale';
import { ColumnDataSource } from '@bokeh/bokehjs/build/js/lib/models/sources/column_data_source';
import { BasicTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/basic_ticker';
import { DatetimeTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/datetime_ticker';
import { HISTORY_LIMIT, type StoreView } from './events';
import { bytes } from './format';
import { ceiling, chartRows, newRows } from './model/series';

export interface StoreChart {
  /** Draw this history; only what is new is sent to Bokeh. */
  show(runtime: string, store: readonly StoreView[]): void;
  /** Take the colours of the theme again. */
  colour(): void;
  dispose(): void;
}

const HEIGHT = 132;
/** At least this many seconds are on view, so that a young runtime does not look old. */
const SHORTEST_SPAN = 20;

/** Sizes on the axis as everywhere else in the panel. */
class BytesTickFormatter extends TickFormatter {
  override doFormat(ticks: number[]): string[] {
    return ticks.map(tick => (tick === 0 ? '0' : bytes(tick)));
  }
}

export function createStoreChart(host: HTMLElement): StoreChart {
  const source = new ColumnDataSource({
    data: { time: [], zero: [], used: [], pinned: [], spilled: [] }
  });
  const xRange = new Range1d({ start: 0, end: 1 });
  const yRange = new Range1d({ start: 0, end: 1 });
  const time = { field: 'time' };
  const zero = { field: 'zero' };
  const used = new VArea({ x: time, y1: zero, y2: { field: 'used' } });
  const usedLine = new Line({ x: time, y: { field: 'used' }, line_width: 1.6 });
  const pinned = new VArea({ x: time, y1: zero, y2: { field: 'pinned' } });
  const spilled = new Line({ x: time, y: { field: 'spilled' }, line_width: 1.6 });
  const capacity = new Span({
    dimension: 'width',
    location: 1,
    line_dash: [4, 4],
    line_width: 1.2
  });
  const xAxis = new DatetimeAxis({
    ticker: new DatetimeTicker({ desired_num_ticks: 4, num_minor_ticks: 0 }),
    formatter: new DatetimeTickFormatter({
      milliseconds: '%H:%M:%S',
      seconds: '%H:%M:%S',
      minsec: '%H:%M:%S',
      minutes: '%H:%M',
      hourmin: '%H:%M',
      hours: '%H:%M'
    })
  });
  const yAxis = new LinearAxis({
    ticker: new BasicTicker({ desired_num_ticks: 3, num_minor_ticks: 0 }),
    formatter: new BytesTickFormatter()
  });
  const grid = new Grid({ dimension: 1, ticker: yAxis.ticker, axis: yAxis });
  const plot = new Plot({
    height: HEIGHT,
    sizing_mode: 'stretch_width',
    x_range: xRange,
    y_range: yRange,
    x_scale: new LinearScale(),
    y_scale: new LinearScale(),
    background_fill_color: null,
    border_fill_color: null,
    outline_line_color: null,
    min_border: 4,
    min_border_right: 10,
    toolbar_location: null,
    renderers: [used, pinned, usedLine, spilled].map(
      glyph => new GlyphRenderer({ data_source: source, glyph, visible: glyph !== spilled })
    )
  });
  plot.add_layout(xAxis, 'below');
  plot.add_layout(yAxis, 'left');
  plot.add_layout(grid, 'center');
  plot.add_layout(capacity, 'center');
  for (const axis of [xAxis, yAxis]) {
    axis.setv({
      axis_line_color: null,
      major_tick_line_color: null,
      major_label_text_font_size: '10px',
      major_label_standoff: 2
    });
  }
  // As many labels as there is room for.
  let labels = 4;
  const resized = new ResizeObserver(entries => {
    const fitting = Math.max(2, Math.min(6, Math.floor(entries[0].contentRect.width / 95)));
    if (fitting !== labels) {
      labels = fitting;
      xAxis.ticker = new DatetimeTicker({ desired_num_ticks: labels, num_minor_ticks: 0 });
    }
  });
  resized.observe(host);
  let last = 0;
  let runtime = '';
  let view: { remove(): void } | null = null;
  let disposed = false;

  const chart: StoreChart = {
    show(id, store) {
      const now = store[store.length - 1];
      if (!now) {
        return;
      }
      const rows = id === runtime ? newRows(store, last) : store;
      if (id !== runtime) {
        source.data = chartRows(rows);
      } else if (rows.length) {
        source.stream(chartRows(rows), HISTORY_LIMIT);
      }
      runtime = id;
      last = now.time;
      const { time } = chartRows([store[0], now]);
      xRange.setv({ start: Math.min(time[0], time[1] - SHORTEST_SPAN * 1000), end: time[1] });
      yRange.end = ceiling(store, now.capacity);
      capacity.location = now.capacity;
      plot.renderers[3].visible = store.some(s => s.spilled > 0);
      capacity.visible = now.capacity <= yRange.end;
    },
    colour() {
      const style = getComputedStyle(host);
      const colour = (name: string): string => style.getPropertyValue(name).trim() || '#888888';
      const text = colour('--jp-ui-font-color2');
      const faint = colour('--jp-border-color2');
      const main = colour('--fl-used');
      used.setv({ fill_color: main, fill_alpha: 0.2 });
      usedLine.setv({ line_color: main });
      pinned.setv({ fill_color: main, fill_alpha: 0.35 });
      spilled.setv({ line_color: colour('--fl-spilled') });
      capacity.setv({ line_color: colour('--fl-failed') });
      grid.setv({ grid_line_color: faint, grid_line_alpha: 0.7 });
      for (const axis of [xAxis, yAxis]) {
        axis.setv({
          major_label_text_color: text,
          major_label_text_font: style.fontFamily || 'sans-serif'
        });
      }
    },
    dispose() {
      disposed = true;
      resized.disconnect();
      view?.remove();
      host.replaceChildren();
    }
  };
  chart.colour();
  void show(plot, host).then(made => {
    view = made;
    if (disposed) {
      made.remove();
    }
  });
  return chart;
}
