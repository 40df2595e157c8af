/** The details of what was clicked, whatever it is; remembers the way that led there. */
import { useEffect, useRef, useState, type ComponentType } from 'react';
import { shortId } from '../format';
import { trans } from '../i18n';
import type { Data } from '../model/state';
import { ActorDetail } from '../sections/details/actor';
import { ErrorDetail } from '../sections/details/error';
import { GroupDetail } from '../sections/details/group';
import { ObjectDetail } from '../sections/details/object';
import type { DetailProps } from '../sections/details/props';
import { WorkerDetail } from '../sections/details/worker';
import { Task } from '../sections/task';
import type { PanelModel } from './model';
import type { Selection } from './section';

export interface DrawerProps {
  model: PanelModel;
  selection: Selection;
  data: Data;
  live: boolean;
  onSelect: (selection: Selection | null) => void;
}

const DETAILS: Record<Selection['kind'], ComponentType<DetailProps>> = {
  group: GroupDetail,
  task: Task,
  actor: ActorDetail,
  worker: WorkerDetail,
  object: ObjectDetail,
  error: ErrorDetail
};

const WAY_LIMIT = 50;
const keyOf = (selection: Selection): string => `${selection.kind} ${selection.id}`;

export function Drawer({ model, selection, data, live, onSelect }: DrawerProps) {
  const head = useRef<HTMLDivElement>(null);
  const key = keyOf(selection);
  const [way, setWay] = useState<{ to: string; before: readonly Selection[] }>({
    to: key,
    before: []
  });
  // What was chosen elsewhere begins a way of its own.
  const before = way.to === key ? way.before : [];
  // Who works with the keyboard goes on where the drawer was opened from.
  useEffect(() => {
    const opener = document.activeElement;
    return () => {
      if (opener instanceof HTMLElement && opener.isConnected) {
        opener.focus({ preventScroll: true });
      }
    };
  }, []);
  useEffect(() => head.current?.focus({ preventScroll: true }), [key]);
  const go = (next: Selection | null): void => {
    if (next !== null && keyOf(next) !== key) {
      setWay({ to: keyOf(next), before: [...before, selection].slice(-WAY_LIMIT) });
    }
    onSelect(next);
  };
  const back = before[before.length - 1];
  const up = back ?? groupOf(selection, data);
  const title = titleOf(selection, data);
  const Detail = DETAILS[selection.kind];
  return (
    <aside
      className="fl-Drawer"
      aria-label={trans.__('Details')}
      onKeyDown={event => {
        if (event.key === 'Escape') {
          event.stopPropagation();
          onSelect(null);
        }
      }}
    >
      <div className="fl-Drawer-head" ref={head} tabIndex={-1}>
        {up && (
          <button
            type="button"
            className="fl-Icon"
            aria-label={trans.__('Back to %1', titleOf(up, data))}
            title={trans.__('Back to %1', titleOf(up, data))}
            onClick={() => {
              setWay({ to: keyOf(up), before: before.slice(0, -1) });
              onSelect(up);
            }}
          >
            ‹
          </button>
        )}
        {title !== '' && <small>{kindText(selection, data)}</small>}
        <h3 title={title}>{title || kindText(selection, data)}</h3>
        <button
          type="button"
          className="fl-Icon fl-Drawer-close"
          aria-label={trans.__('Close the details')}
          title={trans.__('Close (Esc)')}
          onClick={() => onSelect(null)}
        >
          ×
        </button>
      </div>
      <div className="fl-Drawer-body">
        <Detail
          key={key}
          id={String(selection.id)}
          model={model}
          data={data}
          live={live}
          onSelect={go}
        />
      </div>
    </aside>
  );
}

/** The function of a task: where "back" leads from a task that was chosen by itself. */
function groupOf(selection: Selection, data: Data): Selection | undefined {
  const group = selection.kind === 'task' ? data.tasks.get(selection.id)?.group : undefined;
  return group !== undefined && data.groups.has(group)
    ? { kind: 'group', id: group }
    : undefined;
}

function kindText(selection: Selection, data: Data): string {
  const group = selection.kind === 'group' ? data.groups.get(selection.id) : undefined;
  const texts: Record<Selection['kind'], string> = {
    group:
      group?.kind === 'method'
        ? trans.__('Method')
        : group?.kind === 'actor'
          ? trans.__('Class')
          : trans.__('Function'),
    task: trans.__('Task'),
    actor: trans.__('Actor'),
    worker: trans.__('Worker'),
    object: trans.__('Object'),
    error: trans.__('Error')
  };
  return texts[selection.kind];
}

/** What the selected thing is called. */
export function titleOf(selection: Selection, data: Data): string {
  const { kind, id } = selection;
  let name: string | undefined;
  switch (kind) {
    case 'group':
      name = data.groups.get(id)?.name;
      break;
    case 'task':
      name = data.tasks.get(id)?.name;
      break;
    case 'actor':
      name = data.actors.get(id)?.class_name;
      break;
    case 'worker': {
      const pid = data.workers.find(worker => worker.id === id)?.pid;
      name = pid === undefined ? undefined : trans.__('process %1', pid);
      break;
    }
    case 'object':
      name = data.objects.find(object => object.id === id)?.creator;
      break;
    case 'error':
      return '';
  }
  return (name ?? shortId(String(id))).slice(0, 200);
}
