/** One actor: its state, its calls, its methods, why it waits, how it ended. */
import { count, duration } from '../../format';
import { trans } from '../../i18n';
import type { ActorAnswer } from '../../answers';
import { countsText } from '../../views/parts';
import { progressRow, stageCounts } from '../../model/selectors';
import type { GroupView } from '../../events';
import { useAsked } from '../../views/asked';
import { CellLink } from '../../views/cell';
import { Empty } from '../../views/parts';
import { ACTOR_TONE, actorState } from '../actors';
import { LogLines } from '../logs/lines';
import { StateDot } from '../state';
import { Why, useRounds } from '../why';
import { Fact, Facts, Order, Sub, TaskList, resourcesText } from './facts';
import type { DetailProps } from './props';

export function ActorDetail({ id, model, data, live, onSelect }: DetailProps) {
  const known = data.actors.get(id);
  const askable = live || model.source.kind === 'replay';
  const round = useRounds(live && known !== undefined && known.state !== 'DEAD');
  const { answer, problem } = useAsked<ActorAnswer>(
    model.source,
    askable ? { what: 'actor', id } : null,
    `${known?.state} ${round}`
  );
  const actor = known ?? answer?.actor;
  if (!actor) {
    return <Empty>{problem || trans.__('Asking the runtime about this actor…')}</Empty>;
  }
  const onTask = (task: string): void => onSelect({ kind: 'task', id: task });
  const dead = actor.state === 'DEAD';
  const waits = !dead && actor.state !== 'ALIVE';
  const name = `${actor.class_name} ${actor.name}`.trim().slice(0, 100);
  return (
    <div className="fl-Detail">
      <p className="fl-Task-state">
        <StateDot tone={ACTOR_TONE[actor.state]}>{actorState(actor.state)}</StateDot>
        {live && !dead && (
          <Order
            source={model.source}
            command={{ action: 'kill_actor', actor: id }}
            text={trans.__('Kill')}
            label={trans.__('Kill actor %1', name)}
            question={trans.__('Kill actor %1?', name)}
            loses={
              actor.queued > 0
                ? trans._n(
                    'Its state is lost, and %1 call that has not ended fails.',
                    'Its state is lost, and %1 calls that have not ended fail.',
                    actor.queued
                  )
                : trans.__('Its state is lost.')
            }
            asked={trans.__('Killing it…')}
          />
        )}
        <CellLink model={model} origin={answer?.origin ?? ''} />
      </p>
      {dead && actor.death_cause !== '' && <p className="fl-Cause-of">{actor.death_cause}</p>}
      {waits && answer?.why && (
        <Why
          title={trans.__('Why it waits')}
          sentence={answer.why}
          lines={answer.lines}
          onTask={onTask}
        />
      )}
      <Facts>
        <Fact name={trans.__('Name')} title={actor.name}>
          {actor.name.slice(0, 200)}
        </Fact>
        <Fact name={trans.__('Namespace')}>{actor.name && actor.namespace.slice(0, 200)}</Fact>
        <Fact name={trans.__('Process')}>
          {actor.pid > 0 && !dead && (
            <button
              type="button"
              className="fl-Link"
              onClick={() => onSelect({ kind: 'worker', id: actor.worker })}
            >
              {String(actor.pid)}
            </button>
          )}
        </Fact>
        <Fact name={trans.__('Queue')}>{count(actor.queued)}</Fact>
        <Fact name={trans.__('Calls ended')}>{count(actor.finished)}</Fact>
        <Fact name={trans.__('Restarts')}>{count(actor.restarts)}</Fact>
        {answer && (
          <>
            <Fact name={trans.__('Holds')}>{resourcesText(answer.resources)}</Fact>
            <Fact name={trans.__('GPUs')}>{answer.gpus.join(', ')}</Fact>
            <Fact name={trans.__('Detached')}>{answer.detached && trans.__('yes')}</Fact>
          </>
        )}
        <Fact name={trans.__('Actor id')} title={id}>
          {id.slice(0, 12)}
        </Fact>
      </Facts>
      {answer !== null && answer.methods.length > 0 && (
        <>
          <Sub>{trans.__('Methods of this class')}</Sub>
          <Methods
            methods={answer.methods}
            time={data.time}
            onGroup={group => onSelect({ kind: 'group', id: group })}
          />
        </>
      )}
      {answer !== null && answer.waiting.length > 0 && (
        <>
          <Sub>{trans.__('Calls that have not ended')}</Sub>
          <TaskList tasks={answer.waiting} time={data.time} onTask={onTask} shown={6} />
        </>
      )}
      {askable && actor.worker !== '' && (
        <LogLines
          model={model}
          source={{ worker: actor.worker }}
          live={live && !dead}
          brief
          onSelect={onSelect}
        />
      )}
      {problem !== '' && <p className="fl-Hint">{problem}</p>}
    </div>
  );
}

interface MethodsProps {
  methods: readonly GroupView[];
  time: number;
  onGroup: (id: number) => void;
}

function Methods({ methods, time, onGroup }: MethodsProps) {
  return (
    <ul className="fl-TaskList">
      {methods.slice(0, 12).map(method => {
        const { mean } = progressRow(method, [], time);
        const each = !mean ? '' : ` · ${trans.__('%1 each', duration(mean))}`;
        return (
          <li key={method.id}>
            <button
              type="button"
              className="fl-TaskList-row"
              onClick={() => onGroup(method.id)}
            >
              <span>{method.name}</span>
              <span className="fl-quiet">{countsText(stageCounts(method)) + each}</span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}
