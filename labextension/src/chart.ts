/**
 * A chart over time, drawn by BokehJS. Loaded on demand: this module is the only one that imports
 * BokehJS for the panel, and takes just the models that it uses. Colours come from the theme by code.
 */
import { show } from '@bokeh/bokehjs/build/js/lib/api/io';
import { Span } from '@bokeh/bokehjs/build/js/lib/models/annotations/span';
import { DatetimeAxis } from '@bokeh/bokehjs/build/js/lib/models/axes/datetime_axis';
import { LinearAxis } from '@bokeh/bokehjs/build/js/lib/models/axes/linear_axis';
import { DatetimeTickFormatter } from '@bokeh/bokehjs/build/js/lib/models/formatters/datetime_tick_formatter';
import { TickFormatter } from '@bokeh/bokehjs/build/js/lib/models/formatters/tick_formatter';
import { Line } from '@bokeh/bokehjs/build/js/lib/models/glyphs/line';
import { Step } from '@bokeh/bokehjs/build/js/lib/models/glyphs/step';
import { VArea } from '@bokeh/bokehjs/build/js/lib/models/glyphs/varea';
import { Grid } from '@bokeh/bokehjs/build/js/lib/models/grids/grid';
import { Plot, type PlotView } from '@bokeh/bokehjs/build/js/lib/models/plots/plot';
import { Range1d } from '@bokeh/bokehjs/build/js/lib/models/ranges/range1d';
import { GlyphRenderer } from '@bokeh/bokehjs/build/js/lib/models/renderers/glyph_renderer';
import { LinearScale } from '@bokeh/bokehjs/build/js/lib/models/scales/linear_scale';
import { ColumnDataSource } from '@bokeh/bokehjs/build/js/lib/models/sources/column_data_source';
import { BasicTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/basic_ticker';
import { DatetimeTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/datetime_ticker';
import type { TimeChart, TimeChartOptions } from './model/charts';
import {
  fromLocalMilliseconds,
  localMilliseconds,
  type Picture,
  type Series
} from './model/series';

const FONT_SIZE = '10px';
const LINE_WIDTH = 1.6;

/** Numbers on the axis as everywhere else in the panel. */
class OwnTickFormatter extends TickFormatter {
  write: (value: number) => string = String;

  override doFormat(ticks: number[]): string[] {
    return ticks.map(tick => this.write(tick));
  }
}

/** A series as Bokeh draws it: an area has a line on top. */
interface Drawn {
  kind: Series['kind'];
  tone: string;
  source: ColumnDataSource;
  line: Line | Step;
  area: VArea | null;
  renderers: GlyphRenderer[];
}

export function createTimeChart(host: HTMLElement, options: TimeChartOptions): TimeChart {
  const xRange = new Range1d({ start: 0, end: 1 });
  const yRange = new Range1d({ start: 0, end: 1 });
  const limit = new Span({
    dimension: 'width',
    location: 1,
    line_dash: [4, 4],
    visible: false
  });
  const cursor = new Span({ dimension: 'height', location: 0, line_width: 1, visible: false });
  const xAxis = new DatetimeAxis({
    ticker: new DatetimeTicker({ desired_num_ticks: 4, num_minor_ticks: 0 }),
    formatter: new DatetimeTickFormatter({
      milliseconds: '%H:%M:%S',
      seconds: '%H:%M:%S',
      minsec: '%H:%M:%S',
      minutes: '%H:%M',
      hourmin: '%H:%M',
      hours: '%H:%M',
      days: '%d %b'
    })
  });
  const formatter = new OwnTickFormatter();
  formatter.write = options.write;
  const yAxis = new LinearAxis({
    ticker: new BasicTicker({ desired_num_ticks: options.ticks, num_minor_ticks: 0 }),
    formatter
  });
  const grid = new Grid({ dimension: 1, ticker: yAxis.ticker, axis: yAxis });
  const plot = new Plot({
    height: options.height,
    sizing_mode: 'stretch_width',
    x_range: xRange,
    y_range: yRange,
    x_scale: new LinearScale(),
    y_scale: new LinearScale(),
    background_fill_color: null,
    border_fill_color: null,
    outline_line_color: null,
    min_border: 4,
    min_border_left: options.left,
    min_border_right: 10,
    toolbar_location: null
  });
  plot.add_layout(xAxis, 'below');
  plot.add_layout(yAxis, 'left');
  plot.add_layout(grid, 'center');
  plot.add_layout(limit, 'center');
  plot.add_layout(cursor, 'center');
  for (const axis of [xAxis, yAxis]) {
    axis.setv({
      axis_line_color: null,
      major_tick_line_color: null,
      major_label_text_font_size: FONT_SIZE,
      major_label_standoff: 2
    });
  }
  // As many labels as there is room for.
  let labels = 4;
  const resized = new ResizeObserver(entries => {
    const fitting = Math.max(2, Math.min(8, Math.floor(entries[0].contentRect.width / 95)));
    if (fitting !== labels) {
      labels = fitting;
      xAxis.ticker = new DatetimeTicker({ desired_num_ticks: labels, num_minor_ticks: 0 });
    }
  });
  resized.observe(host);
  const drawn = new Map<string, Drawn>();
  let view: PlotView | null = null;
  let disposed = false;

  const add = (series: Series): Drawn => {
    const source = new ColumnDataSource({ data: { time: [], base: [], value: [] } });
    const x = { field: 'time' };
    const shape = { x, y: { field: 'value' }, line_width: LINE_WIDTH };
    const line =
      series.kind === 'step' ? new Step({ ...shape, mode: 'before' }) : new Line(shape);
    line.line_dash = [...(series.dash ?? [])];
    const area =
      series.kind === 'area'
        ? new VArea({ x, y1: { field: 'base' }, y2: { field: 'value' }, fill_alpha: 0.4 })
        : null;
    if (area !== null && series.hatch) {
      area.setv({ hatch_pattern: '/', hatch_alpha: 0.55, hatch_scale: 7, hatch_weight: 1 });
    }
    const renderers = (area === null ? [line] : [area, line]).map(
      glyph => new GlyphRenderer({ data_source: source, glyph })
    );
    return { kind: series.kind, tone: series.tone, source, line, area, renderers };
  };

  const colours = (): ((name: string) => string) => {
    const style = getComputedStyle(host);
    return name => style.getPropertyValue(name).trim() || '#888888';
  };

  const tint = (one: Drawn, colour: (name: string) => string): void => {
    one.line.line_color = colour(one.tone);
    one.area?.setv({ fill_color: colour(one.tone), hatch_color: colour(one.tone) });
  };

  /** Make what is new, drop what is gone. */
  const reconcile = (picture: Picture): void => {
    const ids = picture.series.map(s => s.id);
    const changed =
      ids.length !== drawn.size ||
      picture.series.some(s => {
        const known = drawn.get(s.id);
        return known === undefined || known.tone !== s.tone || known.kind !== s.kind;
      });
    if (!changed) {
      return;
    }
    drawn.clear();
    const colour = colours();
    for (const series of picture.series) {
      const one = add(series);
      tint(one, colour);
      drawn.set(series.id, one);
    }
    plot.renderers = [...drawn.values()].flatMap(one => one.renderers);
  };

  const chart: TimeChart = {
    draw(picture) {
      reconcile(picture);
      for (const series of picture.series) {
        const one = drawn.get(series.id);
        if (one) {
          one.source.data = {
            time: series.time.map(localMilliseconds),
            base: series.base ? [...series.base] : series.value.map(() => 0),
            value: [...series.value]
          };
          const any = series.value.some((v, i) => v - (series.base?.[i] ?? 0) > 0);
          // The line of an area that is empty would be drawn on the edge of the one below.
          one.renderers.forEach(r => (r.visible = series.kind !== 'area' || any));
        }
      }
      xRange.setv({
        start: localMilliseconds(picture.start),
        end: localMilliseconds(picture.end)
      });
      yRange.end = picture.top;
      limit.setv({ visible: picture.limit !== null, location: picture.limit ?? 0 });
    },
    cursor(time) {
      cursor.setv({
        visible: time !== null,
        location: time === null ? 0 : localMilliseconds(time)
      });
    },
    timeAt(x) {
      if (view === null) {
        return null;
      }
      const { left, right } = view.frame.bbox;
      return x < left - 4 || x > right + 4
        ? null
        : fromLocalMilliseconds(view.frame.x_scale.invert(x));
    },
    emphasise(id) {
      for (const [key, one] of drawn) {
        const faint = id !== null && key !== id;
        one.line.setv({
          line_alpha: faint ? 0.25 : 1,
          line_width: key === id ? 2.4 : LINE_WIDTH
        });
      }
    },
    colour() {
      const colour = colours();
      const text = colour('--jp-ui-font-color2');
      drawn.forEach(one => tint(one, colour));
      limit.line_color = colour('--fl-failed');
      limit.line_width = 1.2;
      cursor.line_color = text;
      grid.setv({ grid_line_color: colour('--jp-border-color2'), grid_line_alpha: 0.7 });
      const font = getComputedStyle(host).fontFamily || 'sans-serif';
      for (const axis of [xAxis, yAxis]) {
        axis.setv({ major_label_text_color: text, major_label_text_font: font });
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
    view = made as PlotView;
    if (disposed) {
      made.remove();
    }
  });
  return chart;
}
