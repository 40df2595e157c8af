/** Actors: where they live, what waits for them, and how they ended. */
import { useMemo } from 'react';
import type { ActorState, ActorView } from '../events';
import { count, shortId } from '../format';
import { trans } from '../i18n';
import { Empty } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import type { Column, Facet } from '../views/table/model';
import { Table } from '../views/table/table';
import { StateDot, type Tone } from './state';

export function actorState(state: ActorState): string {
  const texts: Record<ActorState, string> = {
    PENDING_ARGS: trans.__('waits for its arguments'),
    PENDING_CREATION: trans.__('waits to be placed'),
    ALIVE: trans.__('alive'),
    RESTARTING: trans.__('restarting'),
    DEAD: trans.__('dead')
  };
  return texts[state] ?? state;
}

export const ACTOR_TONE: Record<ActorState, Tone> = {
  PENDING_ARGS: 'warm',
  PENDING_CREATION: 'warm',
  ALIVE: 'done',
  RESTARTING: 'warm',
  DEAD: 'bad'
};

/** An actor's name, or the beginning of its id. */
export function actorName(actor: ActorView): string {
  return actor.name || shortId(actor.id);
}

function columns(): readonly Column<ActorView>[] {
  return [
    {
      id: 'actor',
      title: trans.__('Actor'),
      width: 120,
      grow: 3,
      value: a => `${a.class_name} ${a.name}`,
      text: a => `${a.class_name} ${a.name || a.id}`,
      cell: a => (
        <StateDot tone={ACTOR_TONE[a.state]}>
          <span>
            {a.class_name} <span className="fl-quiet">{actorName(a)}</span>
          </span>
        </StateDot>
      )
    },
    {
      id: 'state',
      title: trans.__('State'),
      width: 64,
      grow: 1,
      from: 250,
      value: a => actorState(a.state),
      text: a => [actorState(a.state), a.death_cause].filter(Boolean).join(': ')
    },
    {
      id: 'queued',
      title: trans.__('Queue'),
      hint: trans.__('Calls that have not ended, those that run included'),
      width: 58,
      align: 'end',
      downFirst: true,
      value: a => a.queued,
      text: a => count(a.queued)
    },
    {
      id: 'finished',
      title: trans.__('Calls'),
      hint: trans.__('Calls that have ended'),
      width: 60,
      from: 360,
      align: 'end',
      downFirst: true,
      value: a => a.finished,
      text: a => count(a.finished)
    },
    {
      id: 'restarts',
      title: trans.__('Restarts'),
      width: 66,
      from: 460,
      align: 'end',
      downFirst: true,
      value: a => a.restarts,
      text: a => count(a.restarts)
    },
    {
      id: 'pid',
      title: trans.__('Process'),
      width: 62,
      from: 540,
      align: 'end',
      value: a => a.pid || null,
      text: a => (a.pid > 0 && a.state === 'ALIVE' ? String(a.pid) : '')
    },
    {
      id: 'namespace',
      title: trans.__('Namespace'),
      width: 100,
      from: 760,
      value: a => a.namespace || null,
      text: a => a.namespace
    }
  ];
}

const key = (actor: ActorView): string => actor.id;
const ORDER: readonly ActorState[] = [
  'ALIVE',
  'RESTARTING',
  'PENDING_CREATION',
  'PENDING_ARGS',
  'DEAD'
];

export function Actors({ data, selection, onSelect }: SectionProps) {
  const shape = useMemo(columns, []);
  // The living first; among them, and among the dead, in the order of creation.
  const rows = useMemo(() => {
    const all = [...data.actors.values()];
    return [
      ...all.filter(actor => actor.state !== 'DEAD'),
      ...all.filter(actor => actor.state === 'DEAD')
    ];
  }, [data.actors]);
  const facet = useMemo(
    (): Facet<ActorView> => ({
      title: trans.__('State'),
      value: a => a.state,
      label: value => actorState(value as ActorState),
      order: ORDER
    }),
    []
  );
  if (rows.length === 0) {
    return (
      <Empty>
        {trans.__('No actors. A class with @fanlight.remote makes one with .remote().')}
      </Empty>
    );
  }
  return (
    <Table
      id="actors"
      label={trans.__('Actors')}
      rows={rows}
      columns={shape}
      rowKey={key}
      sort={{ column: '', down: false }}
      facet={facet}
      selected={selection?.kind === 'actor' ? selection.id : undefined}
      onRow={actor => onSelect({ kind: 'actor', id: actor.id })}
    />
  );
}

export const actors: SectionSpec = {
  id: 'actors',
  title: () => trans.__('Actors'),
  summary: data => {
    if (data.actors.size === 0) {
      return trans.__('none');
    }
    const alive = [...data.actors.values()].filter(actor => actor.state !== 'DEAD').length;
    return trans.__('%1 alive', count(alive));
  },
  Body: Actors
};
