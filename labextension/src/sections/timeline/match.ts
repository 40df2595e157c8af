/** The panel's filter on spans. Pure. */
import type { Filter } from '../../views/model';
import type { Data } from '../../model/state';
import type { Feed } from './feed';
import { stateOf } from './words';

/** Which spans the filter lets through; null: all. */
export function matcher(
  filter: Filter,
  feed: Feed,
  data: Pick<Data, 'workers'>
): ((span: number) => boolean) | null {
  const { text, cell, group, state, worker } = filter;
  if (!text && !cell && group === null && !state && !worker) {
    return null;
  }
  const { spans } = feed;
  const known = [...feed.living.values()].find(lane => lane[4] === worker);
  const pid = known?.[3] ?? data.workers.find(w => w.id === worker)?.pid ?? -1;
  const wanted = text.toLowerCase();
  const groups = new Map<number, boolean>();
  const ofGroup = (number: number): boolean => {
    let fits = groups.get(number);
    if (fits === undefined) {
      const [name, , origin] = feed.names.get(number) ?? ['', '', ''];
      fits =
        (group === null || group === number) &&
        (!cell || cell === origin) &&
        (!wanted || name.toLowerCase().includes(wanted));
      groups.set(number, fits);
    }
    return fits;
  };
  return span =>
    ofGroup(spans.group[span]) &&
    (!state || stateOf(spans.flags[span]) === state) &&
    (!worker || spans.pid[span] === pid);
}
