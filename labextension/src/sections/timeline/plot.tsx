/** The lanes on a canvas: drawn once a frame at most; pan, zoom, hover, click and keys. */
import {
  useEffect,
  useMemo,
  useRef,
  useState,
  type KeyboardEvent,
  type PointerEvent,
  type RefObject
} from 'react';
import { trans } from '../../i18n';
import { spanAt } from './blocks';
import { Card } from './card';
import type { Path } from './critical';
import { QUEUE, RULER, draw } from './draw';
import type { Feed } from './feed';
import { waitingBins } from './figures';
import { layoutOf, placedAt, type Layout } from './layout';
import { boxOf, type Scene } from './paint';
import { Raster } from './raster';
import { neighbour } from './steps';
import type { Look } from './usePaint';
import { panned, showing, whole, zoomed, type Extent, type View } from './view';
import { spoken } from './words';

export interface PlotProps {
  feed: Feed;
  version: number;
  extent: Extent;
  view: View;
  now: number;
  /** When what waits now was submitted, as far as it is known. */
  pending: readonly number[];
  width: number;
  wide: boolean;
  look: Look;
  lit: ((span: number) => boolean) | null;
  path: Path | null;
  selected: number;
  onView: (view: View) => void;
  onSpan: (span: number) => void;
}

const LABELS = 132; // pixels for the names of lanes, where they stand beside them
const TALLEST = 340;
const TALLEST_WIDE = 620;
const ZOOM = 1.6;

interface Held {
  x: number;
  y: number;
  scroll: number;
  view: View;
  moved: boolean;
}

export function Plot(props: PlotProps) {
  const { feed, version, view, extent, width, wide, look, path } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const raster = useMemo(() => new Raster(), []);
  const held = useRef<Held | null>(null);
  const [hovered, setHovered] = useState<{ span: number; x: number; y: number } | null>(null);
  const [cursor, setCursor] = useState(-1);
  const [scroll, setScroll] = useState(0);
  const layout = useMemo(
    () => layoutOf(feed.lanes, feed.names, feed.living, wide),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [feed, version, wide]
  );
  const left = wide ? LABELS : 0;
  const room = Math.max(40, width - left);
  const bins = Math.max(20, Math.floor(room / 2));
  const waiting = useMemo(
    () => waitingBins(feed.spans, view.begin, view.end, bins, props.pending, props.now),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [feed, version, view.begin, view.end, bins, props.pending, props.now]
  );
  const head = RULER + QUEUE;
  const height = head + Math.min(layout.height, wide ? TALLEST_WIDE : TALLEST);
  const ratio = typeof window === 'undefined' ? 1 : window.devicePixelRatio || 1;
  const scene: Scene = {
    spans: feed.spans,
    lanes: feed.lanes,
    layout,
    slots: feed.slots,
    paint: look.paint,
    view,
    left,
    width: room,
    scroll,
    ratio,
    lit: props.lit,
    path,
    marks: []
  };
  const most = waiting.reduce((a, b) => Math.max(a, b), 0);
  useFrame(() => {
    if (canvas.current) {
      feed.tick(props.now);
      const began = performance.now();
      draw(canvas.current, {
        scene,
        feed,
        raster,
        font: look.font,
        wide,
        waiting,
        waitingText: wide
          ? trans.__('waiting, at most %1', most)
          : trans.__('%1 waiting at most', most),
        cursor,
        hovered: hovered?.span ?? -1,
        selected: props.selected,
        height
      });
      canvas.current.dataset.drawn = (performance.now() - began).toFixed(2);
    }
  });

  const timeAt = (x: number): number =>
    view.begin + ((x - left) / room) * (view.end - view.begin);
  const spanUnder = (x: number, y: number): number => {
    const placed = y >= head ? placedAt(layout, y - head + scroll) : null;
    if (!placed || x < left) {
      return -1;
    }
    const time = timeAt(x);
    const slack = (2.5 * (view.end - view.begin)) / room;
    const running = placed.lane.running.find(
      i => feed.spans.start[i] <= time + slack && feed.spans.end[i] >= time - slack
    );
    const number = Math.floor((y - head + scroll - placed.rows) / placed.pitch);
    const row = placed.lane.rows[Math.max(0, Math.min(placed.lane.rows.length - 1, number))];
    const found = row ? spanAt(feed.spans, row, time, slack) : -1;
    return found >= 0 ? found : (running ?? -1);
  };
  const place = (event: PointerEvent | WheelEvent): [number, number] => {
    const box = canvas.current?.getBoundingClientRect();
    return [event.clientX - (box?.left ?? 0), event.clientY - (box?.top ?? 0)];
  };
  useWheel(canvas, event => {
    const [x] = place(event);
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (event.ctrlKey || event.metaKey || event.altKey) {
      const factor = Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.008);
      props.onView(zoomed(view, extent, factor, timeAt(x)));
    } else if (sideways || event.shiftKey) {
      const pixels = sideways ? event.deltaX : event.deltaY;
      props.onView(panned(view, extent, (pixels * (view.end - view.begin)) / room));
    } else {
      return false; // the page, or the lanes, scroll
    }
    return true;
  });

  const onMove = (event: PointerEvent<HTMLCanvasElement>): void => {
    const [x, y] = place(event);
    const from = held.current;
    if (!from) {
      const span = spanUnder(x, y);
      event.currentTarget.style.cursor = span >= 0 ? 'pointer' : 'default';
      setHovered(span >= 0 ? { span, x, y } : null);
      return;
    }
    const [dx, dy] = [x - from.x, y - from.y];
    if (!from.moved && Math.abs(dx) + Math.abs(dy) < 4) {
      return;
    }
    from.moved = true;
    setHovered(null);
    event.currentTarget.style.cursor = 'grabbing';
    props.onView(panned(from.view, extent, (-dx * (from.view.end - from.view.begin)) / room));
    if (scroller.current) {
      scroller.current.scrollTop = from.scroll - dy;
    }
  };
  const show = (span: number): void => {
    setCursor(span);
    props.onView(showing(view, extent, feed.spans.start[span], feed.spans.end[span]));
    const box = boxOf(scene, span);
    if (box && scroller.current) {
      const visible = height - head;
      if (box.top < scroll || box.top + box.height > scroll + visible) {
        scroller.current.scrollTop = Math.max(0, box.top - visible / 2);
      }
    }
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const middle = (view.begin + view.end) / 2;
    const span = view.end - view.begin;
    const at = cursor >= 0 && cursor < feed.spans.count ? cursor : -1;
    const around = at >= 0 ? feed.spans.start[at] : middle;
    if (event.key === '+' || event.key === '=') {
      props.onView(zoomed(view, extent, 1 / ZOOM, around));
    } else if (event.key === '-') {
      props.onView(zoomed(view, extent, ZOOM, around));
    } else if (event.key === '0') {
      props.onView(whole(extent));
    } else if (event.shiftKey && event.key === 'ArrowLeft') {
      props.onView(panned(view, extent, -span / 4));
    } else if (event.shiftKey && event.key === 'ArrowRight') {
      props.onView(panned(view, extent, span / 4));
    } else if (event.key.startsWith('Arrow') || event.key === 'Home' || event.key === 'End') {
      const next = neighbour(feed, layout, at, event.key, view);
      if (next >= 0) {
        show(next);
      }
    } else if ((event.key === 'Enter' || event.key === ' ') && at >= 0) {
      props.onSpan(at);
    } else if (event.key === 'Escape' && at >= 0) {
      setCursor(-1);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const known = hovered && hovered.span < feed.spans.count ? hovered : null;
  const spokenCursor =
    cursor >= 0 && cursor < feed.spans.count
      ? spoken(feed, cursor, nameOf(feed, layout, cursor))
      : '';
  return (
    <div className="fl-Time-plot">
      <div
        ref={scroller}
        className="fl-Time-scroll"
        role="application"
        tabIndex={0}
        aria-label={trans.__('Timeline of tasks')}
        aria-description={trans.__(
          'Arrow keys go from task to task and from lane to lane, Enter opens a task, plus and minus zoom, shift and arrow keys move, zero shows all.'
        )}
        style={{ height }}
        onScroll={event => setScroll(event.currentTarget.scrollTop)}
        onKeyDown={onKey}
      >
        <div style={{ height: head + layout.height }}>
          <canvas
            ref={canvas}
            className="fl-Time-canvas"
            data-spans={feed.spans.count}
            data-lanes={layout.placed.length}
            style={{ width: left + room, height }}
            onPointerDown={event => {
              if (event.button === 0) {
                const [x, y] = place(event);
                held.current = { x, y, scroll, view, moved: false };
                event.currentTarget.setPointerCapture(event.pointerId);
              }
            }}
            onPointerMove={onMove}
            onPointerUp={event => {
              const from = held.current;
              held.current = null;
              event.currentTarget.style.cursor = 'default';
              const span = from && !from.moved ? spanUnder(from.x, from.y) : -1;
              if (span >= 0) {
                props.onSpan(span);
              }
            }}
            onPointerCancel={() => {
              held.current = null;
            }}
            onPointerLeave={() => setHovered(null)}
            onDoubleClick={event => {
              const box = event.currentTarget.getBoundingClientRect();
              const [x, y] = [event.clientX - box.left, event.clientY - box.top];
              const span = spanUnder(x, y);
              if (span >= 0) {
                const [from, to] = [feed.spans.start[span], feed.spans.end[span]];
                const factor = (2 * (to - from)) / (view.end - view.begin);
                props.onView(zoomed(view, extent, factor, (from + to) / 2));
              } else if (x >= left) {
                props.onView(zoomed(view, extent, 1 / 3, timeAt(x)));
              }
            }}
          />
        </div>
      </div>
      {known && (
        <Card
          feed={feed}
          span={known.span}
          lane={nameOf(feed, layout, known.span)}
          paint={look.paint}
          x={known.x}
          y={known.y}
          width={width}
        />
      )}
      <span className="fl-Unseen" role="status">
        {spokenCursor}
      </span>
    </div>
  );
}

function nameOf(feed: Feed, layout: Layout, span: number): string {
  return layout.byLane[feed.lanes.lane[span]]?.name ?? '';
}

/** Calls `run` of the last rendering in the next frame; many renderings are one call. */
function useFrame(run: () => void): void {
  const latest = useRef(run);
  const frame = useRef(0);
  useEffect(() => {
    latest.current = run;
    if (frame.current === 0) {
      frame.current = requestAnimationFrame(() => {
        frame.current = 0;
        latest.current();
      });
    }
  });
  useEffect(
    () => () => {
      cancelAnimationFrame(frame.current);
      frame.current = 0;
    },
    []
  );
}

/** React listens to wheels passively, so that it could not keep the page from scrolling. */
function useWheel(ref: RefObject<HTMLElement>, handle: (event: WheelEvent) => boolean): void {
  const latest = useRef(handle);
  useEffect(() => {
    latest.current = handle;
  });
  useEffect(() => {
    const element = ref.current;
    const listener = (event: WheelEvent): void => {
      if (latest.current(event)) {
        event.preventDefault();
      }
    };
    element?.addEventListener('wheel', listener, { passive: false });
    return () => element?.removeEventListener('wheel', listener);
  }, [ref]);
}
