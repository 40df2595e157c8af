/** Actors: where they live, what waits for them, and how they ended. */
import { memo, useState } from 'react';
import type { ActorState, ActorView } from '../events';
import { count, shortId } from '../format';
import { trans } from '../i18n';
import type { Data } from '../model/state';
import type { Source } from '../model/source';
import { Empty } from '../views/parts';
import type { SectionProps, SectionSpec } from '../views/section';
import { WhyOf } from './why';

const STATE: Record<ActorState, string> = {
  PENDING_ARGS: 'waits for its arguments',
  PENDING_CREATION: 'waits to be placed',
  ALIVE: 'alive',
  RESTARTING: 'restarting',
  DEAD: 'dead'
};

export interface ActorsProps {
  actors: Data['actors'];
  live: boolean;
  source: Source;
}

const SHOWN = 50;

export const Actors = memo(function Actors({ actors, live, source }: ActorsProps) {
  if (actors.size === 0) {
    return <Empty>No actors. A class with @fanlight.remote makes one with .remote().</Empty>;
  }
  // The living first; among them, and among the dead, in the order of creation.
  const all = [...actors.values()];
  const sorted = [
    ...all.filter(a => a.state !== 'DEAD'),
    ...all.filter(a => a.state === 'DEAD')
  ];
  return (
    <>
      <ul className="fl-Rows">
        {sorted.slice(0, SHOWN).map(actor => (
          <Row key={actor.id} actor={actor} live={live} source={source} />
        ))}
      </ul>
      {sorted.length > SHOWN && <p className="fl-Hint">and {sorted.length - SHOWN} more</p>}
    </>
  );
});

interface RowProps {
  actor: ActorView;
  live: boolean;
  source: Source;
}

function Row({ actor, live, source }: RowProps) {
  const [sure, setSure] = useState(false);
  const [problem, setProblem] = useState('');
  const [asked, setAsked] = useState(false);
  const waits = actor.state !== 'ALIVE' && actor.state !== 'DEAD';
  const kill = (): void => {
    setSure(false);
    source
      .command({ action: 'kill_actor', actor: actor.id })
      .catch(error => setProblem(String(error)));
  };
  return (
    <li className={`fl-Actor fl-Actor-${actor.state.toLowerCase()}`}>
      <span className="fl-Worker-dot" aria-hidden="true" />
      <span className="fl-Rows-main" title={actor.id}>
        {actor.class_name}
        <span className="fl-quiet">{actor.name || shortId(actor.id)}</span>
      </span>
      <span className="fl-Rows-side">
        {live && waits && (
          <button
            type="button"
            className="fl-Button"
            aria-expanded={asked}
            aria-label={`Why does actor ${actor.class_name} ${actor.name} wait?`}
            onClick={() => setAsked(!asked)}
          >
            Why?
          </button>
        )}
        {live && source.controls && actor.state !== 'DEAD' && (
          <button
            type="button"
            className={`fl-Button ${sure ? 'fl-Button-bad' : ''}`}
            aria-label={`Kill actor ${actor.class_name} ${actor.name}`}
            onClick={() => (sure ? kill() : setSure(true))}
            onBlur={() => setSure(false)}
          >
            {sure ? 'Really kill?' : 'Kill'}
          </button>
        )}
      </span>
      <span className="fl-Actor-facts">
        {STATE[actor.state]}
        {actor.pid > 0 && actor.state === 'ALIVE' && ` · pid ${actor.pid}`}
        {` · ${count(actor.finished)} calls done`}
        {actor.queued > 0 && ` · ${count(actor.queued)} queued`}
        {actor.restarts > 0 && ` · ${count(actor.restarts)} restarts`}
        {actor.state === 'DEAD' && actor.death_cause && ` · ${actor.death_cause}`}
        {problem && ` · ${problem}`}
      </span>
      {asked && waits && <WhyOf id={actor.id} live={live} source={source} />}
    </li>
  );
}

export const actors: SectionSpec = {
  id: 'actors',
  title: () => trans.__('Actors'),
  summary: data => {
    const alive = [...data.actors.values()].filter(a => a.state !== 'DEAD').length;
    return data.actors.size > 0 ? trans.__('%1 alive', count(alive)) : trans.__('none');
  },
  Body: ({ data, live, model }: SectionProps) => (
    <Actors actors={data.actors} live={live} source={model.source} />
  )
};
