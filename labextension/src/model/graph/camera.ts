/**
 * Where a view of the graph looks: pure arithmetic between the world (pixels at zoom 1, y down) and
 * the screen. A camera is never changed in place.
 */

export interface Camera {
  /** The world's point in the top left corner of the view. */
  x: number;
  y: number;
  zoom: number;
}

export interface Size {
  width: number;
  height: number;
}

export interface Box extends Size {
  x: number;
  y: number;
}

export interface ZoomRange {
  least: number;
  most: number;
}

const KEPT_IN_VIEW = 40; // pixels of the contents that cannot be pushed out of the view

export function toWorld(camera: Camera, x: number, y: number): { x: number; y: number } {
  return { x: x / camera.zoom + camera.x, y: y / camera.zoom + camera.y };
}

/** The same view, `dx` and `dy` pixels of the screen further. */
export function panned(camera: Camera, dx: number, dy: number): Camera {
  return { ...camera, x: camera.x + dx / camera.zoom, y: camera.y + dy / camera.zoom };
}

/** Zoomed by a factor, so that what is under the point of the screen stays under it. */
export function zoomedAt(
  camera: Camera,
  factor: number,
  at: { x: number; y: number },
  range: ZoomRange
): Camera {
  const zoom = Math.min(range.most, Math.max(range.least, camera.zoom * factor));
  const point = toWorld(camera, at.x, at.y);
  return { x: point.x - at.x / zoom, y: point.y - at.y / zoom, zoom };
}

/** How contents stand in a view that shows all of them. Lengths are pixels of the screen. */
export interface Fit {
  margin: number;
  /** Free of contents beside the margin. */
  above?: number;
  below?: number;
  least: number;
  most: number;
  /** At the top when there is room to spare; else in the middle. */
  top?: boolean;
  /** Zoom in steps of one over this, so that what repeats takes whole pixels. */
  snap?: number;
}

/** Shows all of the contents, at a zoom from `least` to `most`. */
export function fitted(contents: Box, view: Size, fit: Fit): Camera {
  const { margin, above = 0, below = 0, least, most } = fit;
  const width = Math.max(1, view.width - 2 * margin);
  const height = Math.max(1, view.height - 2 * margin - above - below);
  const wanted = Math.min(
    width / Math.max(1, contents.width),
    height / Math.max(1, contents.height)
  );
  const { snap } = fit;
  const whole = snap ? Math.floor(wanted * snap) / snap : 0;
  // Not where that would leave much of the view empty.
  const zoom = Math.min(most, Math.max(least, whole > 0.85 * wanted ? whole : wanted));
  const spareX = width - contents.width * zoom;
  const spareY = height - contents.height * zoom;
  const left = margin + spareX / 2; // of what is too wide, the middle
  const top = margin + above + (fit.top ? 0 : Math.max(0, spareY / 2));
  return { x: contents.x - left / zoom, y: contents.y - top / zoom, zoom };
}

/** The nearest camera from which some of the contents is still seen. */
export function bounded(camera: Camera, contents: Box, view: Size): Camera {
  const keep = KEPT_IN_VIEW / camera.zoom;
  const clamp = (value: number, low: number, high: number): number =>
    Math.min(Math.max(value, Math.min(low, high)), Math.max(low, high));
  return {
    ...camera,
    x: clamp(
      camera.x,
      contents.x + keep - view.width / camera.zoom,
      contents.x + contents.width - keep
    ),
    y: clamp(
      camera.y,
      contents.y + keep - view.height / camera.zoom,
      contents.y + contents.height - keep
    )
  };
}

/** The nearest camera that shows the whole box, or its top left where it is larger than the view. */
export function revealing(camera: Camera, box: Box, view: Size, margin: number): Camera {
  const pad = margin / camera.zoom;
  const along = (at: number, start: number, length: number, shown: number): number => {
    if (start - pad < at || length + 2 * pad > shown) {
      return start - pad;
    }
    return start + length + pad > at + shown ? start + length + pad - shown : at;
  };
  return {
    ...camera,
    x: along(camera.x, box.x, box.width, view.width / camera.zoom),
    y: along(camera.y, box.y, box.height, view.height / camera.zoom)
  };
}

/** What of the world is in view, with a border of a share of the view on each side. */
export function visible(camera: Camera, view: Size, border: number): Box {
  const width = view.width / camera.zoom;
  const height = view.height / camera.zoom;
  return {
    x: camera.x - border * width,
    y: camera.y - border * height,
    width: width * (1 + 2 * border),
    height: height * (1 + 2 * border)
  };
}

export function overlaps(a: Box, b: Box): boolean {
  return (
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
  );
}

export function contains(outer: Box, inner: Box): boolean {
  return (
    outer.x <= inner.x &&
    outer.y <= inner.y &&
    outer.x + outer.width >= inner.x + inner.width &&
    outer.y + outer.height >= inner.y + inner.height
  );
}
