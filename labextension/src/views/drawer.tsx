/** The lower part of the panel: the tasks of the group, or the task, that was clicked. */
import { useEffect, useRef } from 'react';
import { countsText } from './parts';
import type { Selection } from './section';
import { duration } from '../format';
import { progressRow, stageCounts } from '../model/selectors';
import type { Data } from '../model/state';
import type { Source } from '../model/source';
import { Task } from '../sections/task';
import { Tasks } from '../sections/tasks';

export interface DrawerProps {
  selection: Selection;
  data: Data;
  live: boolean;
  source: Source;
  onSelect: (selection: Selection | null) => void;
}

export function Drawer({ selection, data, live, source, onSelect }: DrawerProps) {
  const head = useRef<HTMLDivElement>(null);
  const key = `${selection.kind}${selection.id}`;
  // Who works with the keyboard goes on where the drawer was opened from.
  useEffect(() => {
    const before = document.activeElement;
    return () => {
      if (before instanceof HTMLElement && before.isConnected) {
        before.focus({ preventScroll: true });
      }
    };
  }, []);
  useEffect(() => head.current?.focus({ preventScroll: true }), [key]);
  const task = selection.kind === 'task' ? data.tasks.get(selection.id) : undefined;
  const groupId = selection.kind === 'group' ? selection.id : task?.group;
  const group = groupId === undefined ? undefined : data.groups.get(groupId);
  const onTask = (id: string): void => onSelect({ kind: 'task', id });
  return (
    <aside
      className="fl-Drawer"
      aria-label="Details"
      onKeyDown={event => event.key === 'Escape' && onSelect(null)}
    >
      <div className="fl-Drawer-head" ref={head} tabIndex={-1}>
        {selection.kind === 'task' && group && (
          <button
            type="button"
            className="fl-Icon"
            aria-label={`All tasks of ${group.name}`}
            title={`All tasks of ${group.name}`}
            onClick={() => onSelect({ kind: 'group', id: group.id })}
          >
            ‹
          </button>
        )}
        <b>{task?.name ?? group?.name ?? 'Task'}</b>
        {selection.kind === 'group' && group && <small>{summary(group, data)}</small>}
        <button
          type="button"
          className="fl-Icon fl-Drawer-close"
          aria-label="Close the details"
          title="Close (Esc)"
          onClick={() => onSelect(null)}
        >
          ×
        </button>
      </div>
      <div className="fl-Drawer-body">
        {selection.kind === 'group' && group && (
          <Tasks
            group={group}
            tasks={data.tasks}
            time={data.time}
            selected=""
            source={source}
            onTask={onTask}
          />
        )}
        {selection.kind === 'task' && (
          <Task
            id={selection.id}
            tasks={data.tasks}
            workers={data.workers}
            time={data.time}
            live={live}
            source={source}
            onTask={onTask}
          />
        )}
      </div>
    </aside>
  );
}

function summary(group: Parameters<typeof progressRow>[0], data: Data): string {
  const row = progressRow(group, [], data.time);
  const each = row.mean === null ? '' : ` · ${duration(row.mean)} each`;
  return countsText(stageCounts(group)) + each;
}
