/** Pixels: rectangles, colours, and the lanes as they are drawn. */
import { layoutOf } from '@fanlight/sections/timeline/layout';
import { paintLanes, type Scene } from '@fanlight/sections/timeline/paint';
import { COLOURS, Slots, paintOf } from '@fanlight/sections/timeline/palette';
import { Raster, mixed, packed, parseColour } from '@fanlight/sections/timeline/raster';
import { criticalPath } from '@fanlight/sections/timeline/critical';
import type { Feed } from '@fanlight/sections/timeline/feed';
import { fed, many, taskId } from './spans';

test('rectangles are cut off at the edges, and never thinner than a pixel', () => {
  const raster = new Raster();
  raster.resize(6, 4);
  raster.rect(-5, 1, 2, 2, 7);
  raster.rect(4.2, 0, 4.3, 99, 8);
  raster.rect(9, 0, 12, 4, 9);
  expect([...raster.pixels]).toEqual(
    [
      [0, 0, 0, 0, 8, 0],
      [7, 7, 0, 0, 8, 0],
      [0, 0, 0, 0, 8, 0],
      [0, 0, 0, 0, 8, 0]
    ].flat()
  );
  raster.clear(0);
  raster.hatch(0, 0, 6, 4, 1, 3, 1, 1);
  expect([...raster.pixels.subarray(0, 12)]).toEqual([1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1]);
});

test('colours as browsers write them', () => {
  expect(parseColour('#07b')).toEqual([0, 119, 187]);
  expect(parseColour(' #0072B2 ')).toEqual([0, 114, 178]);
  expect(parseColour('rgba(1, 2, 3, 0.5)')).toEqual([1, 2, 3]);
  expect(parseColour('rgb(1 2 3 / 50%)')).toEqual([1, 2, 3]);
  expect(parseColour('var(--x)')).toBeNull();
  expect(packed([1, 2, 3])).toBe(0xff030201);
  expect(mixed([100, 0, 0], [0, 100, 0], 0.25)).toEqual([25, 75, 0]);
});

test('functions keep their colours; those of one name share one; many share grey', () => {
  const slots = new Slots();
  expect([slots.of(5, 'f'), slots.of(6, 'g'), slots.of(7, 'f'), slots.of(5, 'f')]).toEqual([
    0, 1, 0, 0
  ]);
  for (let n = 10; n < 40; n += 1) {
    slots.of(n, `h${n}`);
  }
  expect([slots.get(39), slots.get(6)]).toEqual([COLOURS, 1]);
});

const PAINT = paintOf({
  background: [255, 255, 255],
  text: [0, 0, 0],
  failed: [213, 94, 0],
  accent: '#00f'
});

function scene(feed: Feed, begin: number, end: number, more: Partial<Scene> = {}): Scene {
  return {
    spans: feed.spans,
    lanes: feed.lanes,
    layout: layoutOf(feed.lanes, feed.names, feed.living, true),
    slots: feed.slots,
    paint: PAINT,
    view: { begin, end, follow: null },
    left: 0,
    width: 100,
    scroll: 0,
    ratio: 1,
    lit: null,
    path: null,
    marks: [],
    ...more
  };
}

function painted(shown: Scene): (x: number, lane: number) => number {
  const raster = new Raster();
  raster.resize(shown.left + shown.width, shown.layout.height);
  paintLanes(raster, shown);
  return (x, lane) => raster.pixels[(shown.layout.placed[lane].rows + 8) * raster.width + x];
}

test('spans, what is idle, what failed, what runs', () => {
  const feed = fed(
    [
      { start: 0, took: 20, group: 1 },
      { start: 50, took: 20, group: 2 },
      { start: 0, took: 50, group: 1, worker: 2, flags: 1 }
    ],
    { running: [[taskId(9), 2, 2, 102, 0, 60, 55, '']], now: 100 }
  );
  const at = painted(scene(feed, 0, 100));
  expect(at(10, 0)).toBe(PAINT.shades[0][15]);
  expect(at(30, 0)).toBe(PAINT.idle);
  expect(at(60, 0)).toBe(PAINT.shades[1][15]);
  expect([PAINT.failedShades[15], PAINT.slash]).toContain(at(10, 1));
  expect(at(80, 1)).not.toBe(PAINT.idle);
  expect(at(99, 1)).toBe(PAINT.shades[1][15]); // the edge of what runs
});

test('what reads and stores is hatched', () => {
  const feed = fed([{ start: 0, took: 100, reading: 30, storing: 20 }]);
  const at = painted(scene(feed, 0, 100));
  const colours = (from: number, to: number): Set<number> =>
    new Set(Array.from({ length: to - from }, (_, n) => at(from + n, 0)));
  expect(colours(2, 28).size).toBe(2);
  expect(colours(32, 78)).toEqual(new Set([PAINT.shades[0][15]]));
  expect(colours(82, 98).size).toBe(2);
});

test('the filter and the critical path leave the others faint', () => {
  const feed = fed([
    { start: 0, took: 40 },
    { start: 50, took: 40, waited: 20, gate: 1 },
    { start: 0, took: 20, worker: 2 }
  ]);
  const faint = PAINT.shades[0][2];
  const filtered = painted(scene(feed, 0, 100, { lit: span => span === 1 }));
  expect([filtered(10, 0), filtered(60, 0)]).toEqual([faint, PAINT.shades[0][15]]);
  const path = criticalPath(feed.spans);
  const onPath = painted(scene(feed, 0, 100, { path }));
  expect([onPath(10, 0), onPath(60, 0), onPath(10, 1)]).toEqual([
    PAINT.shades[0][15],
    PAINT.shades[0][15],
    faint
  ]);
});

test('of very many short ones, one that the filter wants is still seen', () => {
  const made = Array.from({ length: 2000 }, (_, n) => ({ start: n * 0.01, took: 0.005 }));
  const feed = fed(made);
  const at = painted(scene(feed, 0, 100, { lit: span => span === 1001 }));
  const busy = PAINT.shades[0];
  const seen = Array.from({ length: 20 }, (_, x) => at(x, 0));
  expect(seen[10]).not.toBe(busy[2]);
  expect(seen.filter(colour => colour === busy[2])).toHaveLength(19);
});

test('the work for a picture depends on its pixels, hardly on the number of spans', () => {
  const cost = (count: number): number => {
    const feed = fed(many(count, 2));
    const { begin, end } = feed.extent(0)!;
    const raster = new Raster();
    let rects = 0;
    raster.rect = () => {
      rects += 1;
    };
    const shown = scene(feed, begin, end, { width: 300 });
    raster.resize(300, shown.layout.height);
    paintLanes(raster, shown);
    return rects;
  };
  expect(cost(8000)).toBeLessThan(4 * 300);
});
