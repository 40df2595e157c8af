/**
 * The stage a picture stands on: a canvas, an element that moves with it (`world`), and a camera that
 * mouse, touch and keys move. It draws when something changed, never otherwise, and outside React:
 * React only hears which part of the world is in view, when that part has changed enough.
 */
import {
  bounded,
  contains,
  fitted,
  panned,
  revealing,
  toWorld,
  visible,
  zoomedAt,
  type Box,
  type Camera,
  type Size
} from '../../model/graph/camera';
import { flatPainter } from './flat';
import { paletteOf } from './palette';
import type { Counters, Painter } from './painter';
import { onSecondClick, swallowClick } from './twice';
import { webglPainter } from './webgl';

export interface StageOptions {
  /** Zooms out no further than this when all is to be seen; and in no further. */
  least: number;
  most: number;
  /** Zooms in no further than this when all is to be seen. */
  fitMost: number;
  margin: number;
  /** Pixels above and below that are kept free when all is to be seen. */
  above?: number;
  below?: number;
  /** Stands at the top when there is room to spare, else in the middle. */
  top: boolean;
  /** The wheel moves the picture, also without Ctrl; elsewhere it belongs to the page. */
  wheel: boolean;
  /** Zoom in steps of one over this when all is to be seen. */
  snap?: number;
}

export interface StageEvents {
  /** The part of the world that is to be rendered, larger than what is in view. */
  onRegion: (region: Box, zoom: number) => void;
  /** A point of the world, or null when the pointer has left. */
  onHover: (point: { x: number; y: number } | null) => void;
  onClick: (point: { x: number; y: number }, twice: boolean) => void;
  /** The canvas cannot be drawn on any more: make another one. */
  onLost: () => void;
}

const DRAG = 4; // pixels after which a press is a drag
const GLIDE = 180; // milliseconds
const BORDER = 0.5; // of the view, rendered on each side of it

export class Stage {
  readonly counters: Counters = { uploaded: 0, frames: 0 };
  readonly painter: Painter | null;
  private camera: Camera = { x: 0, y: 0, zoom: 1 };
  private size: Size = { width: 0, height: 0 };
  private contents: Box = { x: 0, y: 0, width: 0, height: 0 };
  /** Until somebody moves the camera it shows all, and goes on doing so as the contents grow. */
  private atHome = true;
  private region: Box | null = null;
  private regionZoom = 0;
  private frame = 0;
  private glide: { from: Camera; to: Camera; start: number } | null = null;
  private readonly pointers = new Map<number, { x: number; y: number }>();
  private pressed: { x: number; y: number } | null = null;
  private dragging = false;
  private readonly listening = new AbortController();

  constructor(
    private readonly host: HTMLElement,
    canvas: HTMLCanvasElement,
    private readonly world: HTMLElement,
    private options: StageOptions,
    private readonly events: StageEvents,
    plain: boolean
  ) {
    this.painter =
      (plain ? null : webglPainter(canvas, events.onLost, this.counters)) ??
      flatPainter(canvas, this.counters);
    host.dataset.painter = this.painter?.kind ?? 'none';
    this.recolour();
    this.listen();
  }

  get view(): Camera {
    return this.camera;
  }

  get home(): boolean {
    return this.atHome;
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.listening.abort();
    this.painter?.dispose();
  }

  configure(options: StageOptions): void {
    this.options = options;
  }

  recolour(): void {
    this.painter?.setPalette(paletteOf(this.host));
    this.invalidate();
  }

  resize(width: number, height: number): void {
    if (width === this.size.width && height === this.size.height) {
      return;
    }
    this.size = { width, height };
    this.painter?.resize(width, height, window.devicePixelRatio || 1);
    this.settle(false);
  }

  /** What there is to see. */
  setContents(contents: Box): void {
    const old = this.contents;
    this.contents = contents;
    if (
      old.x !== contents.x ||
      old.y !== contents.y ||
      old.width !== contents.width ||
      old.height !== contents.height
    ) {
      this.settle(old.width > 0);
    }
  }

  /** Shows all again. */
  fit(glide = true): void {
    this.atHome = true;
    this.settle(glide);
  }

  zoomBy(factor: number, at?: { x: number; y: number }): void {
    const point = at ?? { x: this.size.width / 2, y: this.size.height / 2 };
    this.atHome = false;
    this.moveTo(zoomedAt(this.target(), factor, point, this.range()), at === undefined);
  }

  panBy(dx: number, dy: number, glide = false): void {
    this.atHome = false;
    this.moveTo(panned(glide ? this.target() : this.camera, dx, dy), glide);
  }

  reveal(box: Box): void {
    const next = revealing(this.target(), box, this.size, 12);
    if (next.x !== this.camera.x || next.y !== this.camera.y) {
      this.atHome = false;
      this.moveTo(next, true);
    }
  }

  /** Draw in the next frame. */
  invalidate(): void {
    if (this.frame === 0) {
      this.frame = requestAnimationFrame(now => this.draw(now));
    }
  }

  private target(): Camera {
    return this.glide?.to ?? this.camera;
  }

  private range(): { least: number; most: number } {
    // All can be seen, however much there is.
    const all = fitted(this.contents, this.size, { ...this.options, least: 0, most: 1 });
    return { least: Math.min(this.options.least, all.zoom), most: this.options.most };
  }

  private settle(glide: boolean): void {
    if (this.size.width === 0) {
      return;
    }
    const next = this.atHome
      ? fitted(this.contents, this.size, { ...this.options, most: this.options.fitMost })
      : bounded(this.camera, this.contents, this.size);
    this.moveTo(next, glide);
  }

  private moveTo(camera: Camera, glide: boolean): void {
    const to = this.atHome ? camera : bounded(camera, this.contents, this.size);
    const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (glide && !still && this.region !== null) {
      this.glide = { from: this.camera, to, start: performance.now() };
    } else {
      this.glide = null;
      this.camera = to;
    }
    this.invalidate();
  }

  private draw(now: number): void {
    this.frame = 0;
    if (this.glide !== null) {
      const { from, to, start } = this.glide;
      const t = Math.min(1, Math.max(0, (now - start) / GLIDE));
      const s = t * t * (3 - 2 * t);
      const between = (a: number, b: number): number => a + (b - a) * s;
      this.camera =
        t === 1
          ? to
          : {
              x: between(from.x, to.x),
              y: between(from.y, to.y),
              zoom: between(from.zoom, to.zoom)
            };
      if (t === 1) {
        this.glide = null;
      } else {
        this.invalidate();
      }
    }
    const { x, y, zoom } = this.camera;
    this.world.style.transform = `scale(${zoom}) translate(${-x}px, ${-y}px)`;
    this.painter?.draw(this.camera);
    this.host.dataset.uploaded = String(this.counters.uploaded);
    this.host.dataset.view = `${x.toFixed(1)} ${y.toFixed(1)} ${zoom.toFixed(3)}`;
    const inView = visible(this.camera, this.size, 0);
    const changed = Math.abs(zoom / this.regionZoom - 1) > 0.2;
    if (this.region === null || changed || !contains(this.region, inView)) {
      this.region = visible(this.camera, this.size, BORDER);
      this.regionZoom = zoom;
      this.events.onRegion(this.region, zoom);
    }
  }

  private listen(): void {
    const { host } = this;
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      handler: (event: HTMLElementEventMap[K]) => void,
      passive = true
    ): void => host.addEventListener(type, handler, { signal: this.listening.signal, passive });
    on('wheel', event => this.onWheel(event), false);
    on('pointerdown', event => this.onDown(event));
    on('pointermove', event => this.onMove(event));
    on('pointerup', event => this.onUp(event));
    on('pointercancel', event => this.onUp(event));
    on('pointerleave', () => this.pressed === null && this.events.onHover(null));
  }

  private at(event: MouseEvent): { x: number; y: number } {
    const box = this.host.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  private pointOf(event: MouseEvent): { x: number; y: number } {
    const { x, y } = this.at(event);
    return toWorld(this.camera, x, y);
  }

  private onWheel(event: WheelEvent): void {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      const step = event.deltaMode === 1 ? event.deltaY * 16 : event.deltaY;
      this.glide = null;
      this.zoomBy(Math.exp(-Math.max(-60, Math.min(60, step)) * 0.01), this.at(event));
    } else if (this.options.wheel) {
      const before = this.camera;
      const next = bounded(
        panned(before, event.deltaX, event.deltaY),
        this.contents,
        this.size
      );
      if (next.x !== before.x || next.y !== before.y) {
        event.preventDefault();
        this.panBy(event.deltaX, event.deltaY);
      }
    }
  }

  private onDown(event: PointerEvent): void {
    if (event.button !== 0) {
      return;
    }
    const at = this.at(event);
    this.pointers.set(event.pointerId, at);
    this.pressed = at;
    this.dragging = false;
  }

  private onMove(event: PointerEvent): void {
    const at = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) {
      this.events.onHover(this.pointOf(event));
      return;
    }
    if (this.pointers.size === 2) {
      this.pinch(event.pointerId, before, at);
    } else if (
      this.dragging ||
      (this.pressed && Math.hypot(at.x - this.pressed.x, at.y - this.pressed.y) > DRAG)
    ) {
      if (!this.dragging) {
        this.dragging = true;
        this.host.setPointerCapture(event.pointerId);
        this.host.classList.add('fl-mod-dragging');
        this.events.onHover(null);
      }
      this.glide = null;
      this.panBy(before.x - at.x, before.y - at.y);
    } else {
      return; // a press that trembles
    }
    this.pointers.set(event.pointerId, at);
  }

  private pinch(
    id: number,
    before: { x: number; y: number },
    at: { x: number; y: number }
  ): void {
    const other = [...this.pointers].find(([key]) => key !== id)![1];
    const reach = (p: { x: number; y: number }): number =>
      Math.max(1, Math.hypot(p.x - other.x, p.y - other.y));
    this.dragging = true;
    this.glide = null;
    const middle = { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 };
    this.zoomBy(reach(at) / reach(before), middle);
    this.panBy((before.x - at.x) / 2, (before.y - at.y) / 2);
  }

  private onUp(event: PointerEvent): void {
    if (!this.pointers.delete(event.pointerId)) {
      return;
    }
    this.host.classList.remove('fl-mod-dragging');
    const clicked = !this.dragging && event.type === 'pointerup' && this.pointers.size === 0;
    this.pressed = null;
    if (clicked) {
      const point = this.pointOf(event);
      this.events.onClick(point, false);
      onSecondClick(event, () => this.events.onClick(point, true));
    } else if (event.type === 'pointerup') {
      swallowClick(); // the end of a drag is no click
    }
  }
}
