/** The tasks of a group as columns, asked for while something changes, a few times a second at most. */
import { useEffect, useRef, useState } from 'react';
import { Columns, type ColumnsAnswer } from '../../model/graph/columns';
import { stageCounts, tasksOf, total } from '../../model/selectors';
import type { Source } from '../../model/source';
import type { Data } from '../../model/state';

/** Seconds of the runtime between two questions, however fast it changes. */
const ASK_SECONDS = 0.4;

export interface Followed {
  columns: Columns;
  /** `columns.version`, as what effects depend on: the columns themselves stay the same object. */
  version: number;
  /** Why there are only the tasks that the panel heard of; "" where there are all. */
  partly: string;
  /** Before the first answer. */
  waiting: boolean;
}

interface Following {
  source: Source;
  runtime: string;
  group: number;
  columns: Columns;
  busy: boolean;
  again: boolean;
  asked: number;
  answered: boolean;
  partly: string;
}

export function useColumns(source: Source, data: Data, groupId: number): Followed {
  const [, setVersion] = useState(0);
  const now = useRef<Following | null>(null);
  const runtime = data.runtime.id;
  if (
    now.current?.group !== groupId ||
    now.current.runtime !== runtime ||
    now.current.source !== source
  ) {
    now.current = {
      source,
      runtime,
      group: groupId,
      columns: new Columns(),
      busy: false,
      again: true,
      asked: -Infinity,
      answered: false,
      partly: ''
    };
  }
  const following = now.current;
  const group = data.groups.get(groupId);
  const latest = useRef(data);
  latest.current = data;

  // Each change of the group is a reason to ask; what comes while an answer is on its way, or too
  // soon, is asked for with the next event.
  useEffect(() => {
    following.again = true;
  }, [following, group]);
  useEffect(() => {
    // A recording stands still where it was put: there is no later event to ask with.
    const soon = source.kind === 'live' && data.time - following.asked < ASK_SECONDS;
    if (following.busy || !following.again || (soon && following.answered)) {
      return;
    }
    following.busy = true;
    following.again = false;
    following.asked = data.time;
    const { columns } = following;
    source
      .ask<ColumnsAnswer>({
        what: 'group_tasks',
        group: groupId,
        after: columns.cursor
      })
      .then(answer => {
        following.partly = '';
        if (columns.take(answer)) {
          setVersion(n => n + 1);
        }
      })
      .catch((error: unknown) => {
        following.partly = error instanceof Error ? error.message : String(error);
        const { tasks, groups } = latest.current;
        const counted = groups.get(groupId);
        columns.replace(
          tasksOf(tasks.values(), groupId),
          counted ? total(stageCounts(counted)) : 0
        );
      })
      .finally(() => {
        following.busy = false;
        following.answered = true;
        if (now.current === following) {
          setVersion(n => n + 1);
        }
      });
  });
  return {
    columns: following.columns,
    version: following.columns.version,
    partly: following.partly,
    waiting: !following.answered
  };
}
