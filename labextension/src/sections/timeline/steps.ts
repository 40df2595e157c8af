/** From one span to the next with the keyboard. Pure. */
import { spanAt } from './blocks';
import type { Feed } from './feed';
import { HIDDEN } from './lanes';
import type { Layout } from './layout';
import { RUNNING } from './spans';
import type { Extent } from './view';

/** The span that a key leads to from span `at` (-1: from nowhere yet); -1 if there is none. */
export function neighbour(
  feed: Feed,
  layout: Layout,
  at: number,
  key: string,
  view: Extent
): number {
  const { spans, lanes } = feed;
  if (at < 0) {
    return firstOnView(feed, layout, view);
  }
  const place = layout.placed.findIndex(one => one.lane.order === lanes.lane[at]);
  if (place < 0) {
    return -1;
  }
  const lane = layout.placed[place].lane;
  if (key === 'ArrowUp' || key === 'ArrowDown') {
    const step = key === 'ArrowUp' ? -1 : 1;
    const time = Math.max(
      view.begin,
      Math.min(view.end, (spans.start[at] + spans.end[at]) / 2)
    );
    for (let n = place + step; n >= 0 && n < layout.placed.length; n += step) {
      const found = nearest(feed, layout, n, time);
      if (found >= 0) {
        return found;
      }
    }
    return -1;
  }
  if (spans.flags[at] & RUNNING || lanes.row[at] === HIDDEN) {
    const row = lane.rows[0];
    return row?.count && key !== 'ArrowRight' ? row.at[row.count - 1] : -1;
  }
  const row = lane.rows[lanes.row[at]];
  let k = row.endingAfter(spans, spans.start[at]);
  while (k < row.count && row.at[k] !== at) {
    k += 1;
  }
  const wanted = { ArrowLeft: k - 1, ArrowRight: k + 1, Home: 0, End: row.count - 1 }[key] ?? k;
  if (wanted === row.count && lane.running.length) {
    return lane.running[0];
  }
  return wanted >= 0 && wanted < row.count ? row.at[wanted] : -1;
}

function firstOnView(feed: Feed, layout: Layout, view: Extent): number {
  for (let n = 0; n < layout.placed.length; n += 1) {
    const { lane } = layout.placed[n];
    for (const row of lane.rows) {
      const k = row.endingAfter(feed.spans, view.begin);
      if (k < row.count && feed.spans.start[row.at[k]] < view.end) {
        return row.at[k];
      }
    }
    if (lane.running.length) {
      return lane.running[0];
    }
  }
  return -1;
}

function nearest(feed: Feed, layout: Layout, n: number, time: number): number {
  const { lane } = layout.placed[n];
  let best = -1;
  let least = Infinity;
  for (const row of lane.rows) {
    const found = spanAt(feed.spans, row, time, Infinity);
    if (found >= 0) {
      const away = Math.max(feed.spans.start[found] - time, time - feed.spans.end[found], 0);
      if (away < least) {
        least = away;
        best = found;
      }
    }
  }
  return best >= 0 ? best : (lane.running[0] ?? -1);
}
