/** The pieces that details are made of: facts with their names, tasks to go to, a two-step button. */
import { useEffect, useState, type ReactNode } from 'react';
import type { TaskView } from '../../events';
import { duration, shortId } from '../../format';
import { trans } from '../../i18n';
import { STATE_TEXT, runtimeOf, stageOf } from '../../model/selectors';
import type { Command } from '../../model/queries';
import type { Source } from '../../model/source';
import { messageOf } from '../../views/asked';
import { ConfirmButton } from '../../views/confirm';
import { STAGE_TONE, StateDot } from '../state';

export function Facts(props: { children: ReactNode }) {
  return <dl className="fl-Facts">{props.children}</dl>;
}

/** Nothing where there is nothing to say. */
export function Fact(props: { name: string; title?: string; children: ReactNode }) {
  const { children } = props;
  if (children === null || children === undefined || children === '' || children === false) {
    return null;
  }
  return (
    <div>
      <dt>{props.name}</dt>
      <dd title={props.title}>{children}</dd>
    </div>
  );
}

export function Sub(props: { children: ReactNode }) {
  return <h4 className="fl-Sub">{props.children}</h4>;
}

/** "1 CPU, 0.5 GPU": what something holds. */
export function resourcesText(resources: Readonly<Record<string, number>>): string {
  return Object.entries(resources)
    .filter(([, n]) => n > 0)
    .map(([name, n]) => `${n} ${name}`)
    .join(', ');
}

export interface TagProps {
  id: string;
  name: string;
  task: TaskView | undefined;
  onTask: (id: string) => void;
  note?: string;
}

/** A task, by name, to go to. */
export function TaskTag({ id, name, task, onTask, note }: TagProps) {
  const text = (name || shortId(id)).slice(0, 200);
  return (
    <button type="button" className="fl-Tag" title={id} onClick={() => onTask(id)}>
      {task && <i className={`fl-Dot fl-fill-${stageOf(task.state)}`} aria-hidden="true" />}
      {text}
      {note && <small>{note}</small>}
    </button>
  );
}

export interface TaskListProps {
  tasks: readonly TaskView[];
  time: number;
  onTask: (id: string) => void;
  shown?: number;
}

/** A few tasks, one a line. */
export function TaskList({ tasks, time, onTask, shown = 10 }: TaskListProps) {
  return (
    <ul className="fl-TaskList">
      {tasks.slice(0, shown).map(task => {
        const ran = runtimeOf(task, time);
        return (
          <li key={task.id}>
            <button
              type="button"
              className="fl-TaskList-row"
              title={STATE_TEXT[task.state]}
              onClick={() => onTask(task.id)}
            >
              <StateDot tone={STAGE_TONE[stageOf(task.state)]}>{task.name}</StateDot>
              <span className="fl-quiet">
                {ran === null ? STATE_TEXT[task.state] : duration(ran)}
              </span>
            </button>
          </li>
        );
      })}
      {tasks.length > shown && (
        <li className="fl-Hint">{trans.__('and %1 more', tasks.length - shown)}</li>
      )}
    </ul>
  );
}

export interface OrderProps {
  source: Source;
  command: Command;
  text: string;
  label?: string;
  /** What would be lost, "" for nothing; asked first otherwise. */
  loses: string;
  question: string;
  /** Shown until the effect is seen. */
  asked: string;
}

/** A button that does something to the runtime, and says what has become of it. */
export function Order({ source, command, asked, text, ...words }: OrderProps) {
  const [said, setSaid] = useState('');
  const key = JSON.stringify(command);
  useEffect(() => setSaid(''), [key]);
  if (!source.controls) {
    return null;
  }
  const order = (): void => {
    setSaid(asked);
    source.command(command).catch(error => setSaid(messageOf(error)));
  };
  return (
    <>
      <ConfirmButton
        label={words.label}
        loses={words.loses}
        question={words.question}
        action={text}
        onConfirm={order}
      >
        {text}
      </ConfirmButton>
      {said !== '' && <small role="status">{said}</small>}
    </>
  );
}
