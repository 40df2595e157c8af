/** All of the time in one strip: how many tasks ran, and which part is on view; dragged to change it. */
import { useEffect, useMemo, useRef, type PointerEvent } from 'react';
import { trans } from '../../i18n';
import type { Feed } from './feed';
import { busyBins } from './figures';
import { css, type Paint } from './palette';
import { between, panned, whole, type Extent, type View } from './view';

const HEIGHT = 30;
const EDGE = 6; // pixels around an edge that take hold of it

export interface OverviewProps {
  feed: Feed;
  version: number;
  extent: Extent;
  view: View;
  width: number;
  paint: Paint;
  onView: (view: View) => void;
}

interface Drag {
  kind: 'new' | 'move' | 'begin' | 'end';
  from: number;
  view: View;
}

export function Overview(props: OverviewProps) {
  const { feed, version, extent, view, width, paint, onView } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const drag = useRef<Drag | null>(null);
  const all = whole(extent);
  const bins = Math.max(8, Math.floor(width / 2));
  const busy = useMemo(
    () => busyBins(feed.lanes, all.begin, all.end, bins),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [feed, version, all.begin, all.end, bins]
  );
  const scale = width / (all.end - all.begin);
  const left = (view.begin - all.begin) * scale;
  const right = (view.end - all.begin) * scale;

  useEffect(() => {
    const pen = canvas.current?.getContext('2d');
    if (!canvas.current || !pen || width <= 0) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    canvas.current.width = Math.round(width * ratio);
    canvas.current.height = HEIGHT * ratio;
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.fillStyle = paint.quiet;
    pen.globalAlpha = 0.08;
    pen.fillRect(0, 0, width, HEIGHT);
    pen.globalAlpha = 1;
    const most = Math.max(1, ...busy);
    const step = width / busy.length;
    const shape = (from: number, to: number): void => {
      pen.beginPath();
      pen.moveTo(from * step, HEIGHT);
      for (let k = from; k < to; k += 1) {
        const y = HEIGHT - (busy[k] > 0 ? 1 + ((HEIGHT - 4) * busy[k]) / most : 0);
        pen.lineTo(k * step, y);
        pen.lineTo((k + 1) * step, y);
      }
      pen.lineTo(to * step, HEIGHT);
      pen.fill();
    };
    pen.fillStyle = css(paint.slots[0]);
    pen.globalAlpha = 0.75;
    shape(0, busy.length);
    // What is not on view is veiled.
    pen.globalAlpha = 0.62;
    pen.fillStyle = css(paint.background);
    pen.fillRect(0, 0, Math.max(0, left), HEIGHT);
    pen.fillRect(Math.min(width, right), 0, width, HEIGHT);
    pen.globalAlpha = 1;
    pen.fillStyle = paint.accent;
    const [a, b] = [Math.max(0, left), Math.min(width, Math.max(right, left + 2))];
    pen.fillRect(a, 0, b - a, 1.5);
    pen.fillRect(a, HEIGHT - 1.5, b - a, 1.5);
    for (const edge of [a, b - 2]) {
      pen.fillRect(edge, 0, 2, HEIGHT);
    }
  }, [busy, width, paint, left, right]);

  const at = (event: PointerEvent): number =>
    event.clientX - event.currentTarget.getBoundingClientRect().left;
  const part = (x: number): Drag['kind'] => {
    const full = left <= 1 && right >= width - 1;
    if (Math.abs(x - left) <= EDGE) {
      return 'begin';
    }
    if (Math.abs(x - right) <= EDGE) {
      return 'end';
    }
    return x > left && x < right && !full ? 'move' : 'new';
  };
  const onMove = (event: PointerEvent<HTMLCanvasElement>): void => {
    const x = at(event);
    const held = drag.current;
    if (!held) {
      const cursors = { new: 'crosshair', move: 'grab', begin: 'ew-resize', end: 'ew-resize' };
      event.currentTarget.style.cursor = cursors[part(x)];
      return;
    }
    const time = all.begin + x / scale;
    if (held.kind === 'move') {
      onView(panned(held.view, extent, (x - held.from) / scale));
    } else if (held.kind === 'begin') {
      onView(between(Math.min(time, held.view.end), held.view.end, extent));
    } else if (held.kind === 'end') {
      onView(between(held.view.begin, Math.max(time, held.view.begin), extent));
    } else if (Math.abs(x - held.from) > 3) {
      onView(between(all.begin + held.from / scale, time, extent));
    }
  };
  return (
    <canvas
      ref={canvas}
      className="fl-Time-overview"
      style={{ width, height: HEIGHT }}
      aria-hidden="true"
      title={trans.__('Drag to choose the time on view. Double-click for all of it.')}
      onPointerDown={event => {
        if (event.button === 0) {
          const x = at(event);
          drag.current = { kind: part(x), from: x, view };
          event.currentTarget.setPointerCapture(event.pointerId);
        }
      }}
      onPointerMove={onMove}
      onPointerUp={() => {
        drag.current = null;
      }}
      onPointerCancel={() => {
        drag.current = null;
      }}
      onDoubleClick={() => onView(all)}
    />
  );
}
