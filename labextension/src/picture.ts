/**
 * Draws a Bokeh document that Python made. Loaded on demand. Just these models can be in it: a
 * document that names another one is refused, so that none brings code along.
 */
import { register_models } from '@bokeh/bokehjs/build/js/lib/base';
import { Document } from '@bokeh/bokehjs/build/js/lib/document';
import { version } from '@bokeh/bokehjs/build/js/lib/version';
import { AreaVisuals } from '@bokeh/bokehjs/build/js/lib/models/annotations/area_visuals';
import { BoxAnnotation } from '@bokeh/bokehjs/build/js/lib/models/annotations/box_annotation';
import { BoxInteractionHandles } from '@bokeh/bokehjs/build/js/lib/models/annotations/box_annotation';
import { Legend } from '@bokeh/bokehjs/build/js/lib/models/annotations/legend';
import { LegendItem } from '@bokeh/bokehjs/build/js/lib/models/annotations/legend_item';
import { Title } from '@bokeh/bokehjs/build/js/lib/models/annotations/title';
import { LinearAxis } from '@bokeh/bokehjs/build/js/lib/models/axes/linear_axis';
import { AllIndices } from '@bokeh/bokehjs/build/js/lib/models/filters/all_indices';
import { BasicTickFormatter } from '@bokeh/bokehjs/build/js/lib/models/formatters/basic_tick_formatter';
import { HBar } from '@bokeh/bokehjs/build/js/lib/models/glyphs/hbar';
import { MultiLine } from '@bokeh/bokehjs/build/js/lib/models/glyphs/multi_line';
import { Quad } from '@bokeh/bokehjs/build/js/lib/models/glyphs/quad';
import { Rect } from '@bokeh/bokehjs/build/js/lib/models/glyphs/rect';
import { Scatter } from '@bokeh/bokehjs/build/js/lib/models/glyphs/scatter';
import { Grid } from '@bokeh/bokehjs/build/js/lib/models/grids/grid';
import { Figure } from '@bokeh/bokehjs/build/js/lib/models/plots/figure';
import { AllLabels } from '@bokeh/bokehjs/build/js/lib/models/policies/labeling';
import { Range1d } from '@bokeh/bokehjs/build/js/lib/models/ranges/range1d';
import { GlyphRenderer } from '@bokeh/bokehjs/build/js/lib/models/renderers/glyph_renderer';
import { LinearScale } from '@bokeh/bokehjs/build/js/lib/models/scales/linear_scale';
import { UnionRenderers } from '@bokeh/bokehjs/build/js/lib/models/selections/interaction_policy';
import { Selection } from '@bokeh/bokehjs/build/js/lib/models/selections/selection';
import { CDSView } from '@bokeh/bokehjs/build/js/lib/models/sources/cds_view';
import { ColumnDataSource } from '@bokeh/bokehjs/build/js/lib/models/sources/column_data_source';
import { BasicTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/basic_ticker';
import { FixedTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/fixed_ticker';
import { ResetTool } from '@bokeh/bokehjs/build/js/lib/models/tools/actions/reset_tool';
import { SaveTool } from '@bokeh/bokehjs/build/js/lib/models/tools/actions/save_tool';
import { ZoomInTool } from '@bokeh/bokehjs/build/js/lib/models/tools/actions/zoom_in_tool';
import { ZoomOutTool } from '@bokeh/bokehjs/build/js/lib/models/tools/actions/zoom_out_tool';
import { BoxZoomTool } from '@bokeh/bokehjs/build/js/lib/models/tools/gestures/box_zoom_tool';
import { PanTool } from '@bokeh/bokehjs/build/js/lib/models/tools/gestures/pan_tool';
import { TapTool } from '@bokeh/bokehjs/build/js/lib/models/tools/gestures/tap_tool';
import { WheelZoomTool } from '@bokeh/bokehjs/build/js/lib/models/tools/gestures/wheel_zoom_tool';
import { HoverTool } from '@bokeh/bokehjs/build/js/lib/models/tools/inspectors/hover_tool';
import { Toolbar } from '@bokeh/bokehjs/build/js/lib/models/tools/toolbar';
import { Notifications } from '@bokeh/bokehjs/build/js/lib/models/ui/notifications';
import { Text } from '@bokeh/bokehjs/build/js/lib/models/glyphs/text';
import { add_document_standalone } from '@bokeh/bokehjs/build/js/lib/embed/standalone';

register_models({
  AllIndices,
  AllLabels,
  AreaVisuals,
  BasicTickFormatter,
  BasicTicker,
  BoxAnnotation,
  BoxInteractionHandles,
  BoxZoomTool,
  CDSView,
  ColumnDataSource,
  Figure,
  FixedTicker,
  GlyphRenderer,
  Grid,
  HBar,
  HoverTool,
  Legend,
  LegendItem,
  LinearAxis,
  LinearScale,
  MultiLine,
  Notifications,
  PanTool,
  Quad,
  Range1d,
  Rect,
  ResetTool,
  SaveTool,
  Scatter,
  Selection,
  TapTool,
  Text,
  Title,
  Toolbar,
  UnionRenderers,
  WheelZoomTool,
  ZoomInTool,
  ZoomOutTool
});

export interface Drawn {
  /** Take the colours of the theme again. */
  recolour(): void;
  dispose(): void;
}

/** The tooltips are made by BokehJS, white: here they are as the theme's own. */
const TOOLTIP = `:host {
  --background-color: var(--jp-layout-color2, #fff);
  --color: var(--jp-ui-font-color1, #222);
  --divider-color: var(--jp-border-color1, #bbb);
  --tooltip-arrow-color: var(--jp-border-color1, #bbb);
  max-width: 420px;
}
.bk-tooltip-row-label { color: var(--jp-ui-font-color2, #666); }`;

export async function draw(host: HTMLElement, json: unknown): Promise<Drawn> {
  // Python's Bokeh may be another one than ours: what is in the document is the same in all of 3.
  const source = { ...(json as DocJson), version };
  let shown = await drawOnce(host, source, null);
  let latest = 0;
  return {
    recolour: () => {
      // Drawn anew, at the same zoom: a legend does not change its colours well.
      const turn = ++latest;
      void (async () => {
        const ranges = shown.plots.map(zoom);
        shown.views.clear();
        host.replaceChildren();
        const next = await drawOnce(host, source, ranges);
        if (turn === latest) {
          shown = next;
        } else {
          next.views.clear();
        }
      })();
    },
    dispose: () => {
      latest = -1;
      shown.views.clear();
      host.replaceChildren();
    }
  };
}

type DocJson = Parameters<typeof Document.from_json>[0];
type Views = Awaited<ReturnType<typeof add_document_standalone>>;
type Zoom = Array<[number, number]>;

function zoom(plot: Figure): Zoom {
  return [plot.x_range, plot.y_range].map(range => [range.start, range.end]);
}

async function drawOnce(
  host: HTMLElement,
  json: DocJson,
  ranges: Zoom[] | null
): Promise<{ views: Views; plots: Figure[] }> {
  const made = Document.from_json(json);
  const place = document.createElement('div');
  const details = document.createElement('pre');
  details.className = 'fl-Picture-details';
  details.setAttribute('aria-live', 'polite');
  details.hidden = true;
  host.append(place, details);
  const plots = made.roots().filter(root => root instanceof Figure);
  const style = getComputedStyle(host);
  const colour = style.getPropertyValue('--jp-ui-font-color1').trim() || '#808080';
  plots.forEach((plot, i) => {
    for (const legend of plot.below) {
      if (legend instanceof Legend) {
        legend.label_text_color = colour;
      }
    }
    for (const renderer of plot.renderers) {
      if (renderer instanceof GlyphRenderer && renderer.glyph instanceof Text) {
        renderer.glyph.text_color = { value: colour };
      }
    }
    if (ranges) {
      [plot.x_range, plot.y_range].forEach((range, axis) => {
        range.setv({ start: ranges[i][axis][0], end: ranges[i][axis][1] });
      });
    }
    showDetails(plot, details);
  });
  // What is on view, for tests and for who writes style sheets.
  const note = (): void => {
    host.dataset.range = JSON.stringify(plots.map(zoom));
  };
  for (const plot of plots) {
    plot.x_range.change.connect(note);
    plot.y_range.change.connect(note);
  }
  note();
  const views = await add_document_standalone(made, place);
  const hovers = plots
    .flatMap(plot => plot.toolbar.tools)
    .filter(tool => tool instanceof HoverTool);
  for (const hover of hovers) {
    const view = views.find_one(hover) as { ttmodels?: Map<unknown, Styled> } | null;
    for (const tooltip of view?.ttmodels?.values() ?? []) {
      tooltip.stylesheets = [TOOLTIP];
    }
  }
  return { views, plots };
}

interface Styled {
  stylesheets: string[];
}

/** What was clicked, in words: the column "details" of the row that is selected. */
function showDetails(plot: Figure, place: HTMLElement): void {
  for (const renderer of plot.renderers) {
    if (!(renderer instanceof GlyphRenderer)) {
      continue;
    }
    const source = renderer.data_source;
    const columns = (source as ColumnDataSource).data;
    const texts: unknown =
      columns instanceof Map
        ? columns.get('details')
        : (columns as Record<string, unknown>).details;
    if (!Array.isArray(texts)) {
      continue;
    }
    source.selected.properties.indices.change.connect(() => {
      const chosen = [...source.selected.indices].slice(0, 3).map(i => String(texts[i]));
      place.textContent = chosen.join('\n\n');
      place.hidden = chosen.length === 0;
    });
  }
}
