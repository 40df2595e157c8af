/** Which functions and tasks the shared filter means. What does not match is dimmed, never moved. Pure. */
import type { GroupView, WorkerView } from '../../events';
import { stageCounts } from '../selectors';
import type { Data } from '../state';
import type { Filter } from '../../views/model';
import { STAGE_CODES, workerNumber, type Columns } from './columns';

export function isActive(filter: Filter): boolean {
  const { text, cell, group, state, worker } = filter;
  return Boolean(text || cell || state || worker) || group !== null;
}

/** The groups that match; null where all do. `tasks` are looked at for a worker only. */
export function matchingGroups(
  groups: Data['groups'],
  tasks: Data['tasks'] | null,
  filter: Filter
): Set<number> | null {
  if (!isActive(filter)) {
    return null;
  }
  const busy = filter.worker && tasks ? groupsOf(tasks, filter.worker) : null;
  const found = new Set<number>();
  for (const group of groups.values()) {
    if (groupMatches(group, filter) && (busy === null || busy.has(group.id))) {
      found.add(group.id);
    }
  }
  return found;
}

function groupMatches(group: GroupView, filter: Filter): boolean {
  return (
    (filter.group === null || filter.group === group.id) &&
    (!filter.cell || filter.cell === group.origin) &&
    (!filter.text || includes(group.name, filter.text)) &&
    (!filter.state || stageCounts(group)[filter.state] > 0)
  );
}

/** The groups of which single tasks are known to have run on a worker. */
function groupsOf(tasks: Data['tasks'], worker: string): Set<number> {
  const found = new Set<number>();
  for (const task of tasks.values()) {
    if (task.worker === worker) {
      found.add(task.group);
    }
  }
  return found;
}

/**
 * One byte a task: 1 where it matches. The text is looked for in ids here, since the name is the same
 * for all; where it is in the name of the group, all match. Null where all do.
 */
export function matchingTasks(
  columns: Columns,
  group: GroupView,
  filter: Filter
): Uint8Array | null {
  const text = includes(group.name, filter.text) ? '' : filter.text.toLowerCase();
  if (!text && !filter.state && !filter.worker) {
    return null;
  }
  const wanted = filter.state ? STAGE_CODES.indexOf(filter.state) : -1;
  const worker = filter.worker ? workerNumber(filter.worker) : 0;
  const shown = new Uint8Array(columns.count);
  for (let i = 0; i < shown.length; i++) {
    shown[i] =
      (wanted < 0 || columns.stage(i) === wanted) &&
      (!worker || columns.worker[i] === worker) &&
      (!text || columns.idOf(i).includes(text))
        ? 1
        : 0;
  }
  return shown;
}

/** Cells that have functions, in the order in which they first ran. */
export function cellsOf(groups: Iterable<GroupView>): string[] {
  const first = new Map<string, number>();
  for (const { origin, first: time } of groups) {
    if (origin) {
      first.set(origin, Math.min(first.get(origin) ?? Infinity, time));
    }
  }
  return [...first].sort((a, b) => a[1] - b[1]).map(([origin]) => origin);
}

export function workerName(worker: WorkerView): string {
  return worker.actor ? `${worker.actor} · ${worker.pid}` : String(worker.pid);
}

function includes(name: string, text: string): boolean {
  return name.toLowerCase().includes(text.toLowerCase());
}
