/** One worker process: what it does, what it holds, what it ran, what it printed. */
import { bytes, clock, count, duration } from '../../format';
import { trans } from '../../i18n';
import type { WorkerAnswer } from '../../answers';
import { useAsked } from '../../views/asked';
import { Empty } from '../../views/parts';
import { LogLines } from '../logs/lines';
import { StateDot } from '../state';
import { useRounds } from '../why';
import { WORKER_TONE, doing, workerState } from '../workers';
import { Fact, Facts, Sub, TaskList, resourcesText } from './facts';
import type { DetailProps } from './props';

export function WorkerDetail({ id, model, data, live, onSelect }: DetailProps) {
  const known = data.workers.find(worker => worker.id === id);
  const askable = live || model.source.kind === 'replay';
  const round = useRounds(live && known !== undefined);
  const { answer, problem } = useAsked<WorkerAnswer>(
    model.source,
    askable ? { what: 'worker', id } : null,
    `${known?.task_id} ${round}`
  );
  const worker = known ?? answer?.worker ?? null;
  const onTask = (task: string): void => onSelect({ kind: 'task', id: task });
  if (worker === null && answer === null) {
    return <Empty>{problem || trans.__('This worker is gone.')}</Empty>;
  }
  const waiting = (answer?.queue ?? []).filter(task => task.id !== worker?.task_id);
  return (
    <div className="fl-Detail">
      {worker && (
        <p className="fl-Task-state">
          <StateDot tone={WORKER_TONE[worker.state]}>{workerState(worker.state)}</StateDot>
          {worker.task_id !== '' && (
            <button type="button" className="fl-Link" onClick={() => onTask(worker.task_id)}>
              {doing(worker)}
            </button>
          )}
        </p>
      )}
      {answer !== null && answer.how !== '' && (
        <p className="fl-bad">{trans.__('It ended: %1', answer.how)}</p>
      )}
      <Facts>
        {worker && (
          <>
            <Fact name={trans.__('Process')}>{String(worker.pid)}</Fact>
            <Fact name={trans.__('CPU')}>
              {trans.__('%1 %', worker.cpu_percent.toFixed(0))}
            </Fact>
            <Fact name={trans.__('Memory')}>{bytes(worker.rss)}</Fact>
            <Fact name={trans.__('GPUs')}>{worker.gpus.join(', ')}</Fact>
            <Fact name={trans.__('Tasks done')}>{count(worker.finished)}</Fact>
          </>
        )}
        {answer && (
          <>
            <Fact name={trans.__('Holds')}>{resourcesText(answer.resources)}</Fact>
            {answer.created > 0 && (
              <Fact name={trans.__('Started')}>{clock(answer.created)}</Fact>
            )}
            {answer.ended > 0 && (
              <Fact name={trans.__('Lived')}>{duration(answer.ended - answer.created)}</Fact>
            )}
            {answer.blocked > 0 && (
              <Fact name={trans.__('Waits in get')}>
                {trans._n('%1 thread', '%1 threads', answer.blocked)}
              </Fact>
            )}
          </>
        )}
      </Facts>
      {waiting.length > 0 && (
        <>
          <Sub>{trans.__('Next')}</Sub>
          <TaskList tasks={waiting} time={data.time} onTask={onTask} shown={5} />
        </>
      )}
      {answer !== null && answer.recent.length > 0 && (
        <>
          <Sub>{trans.__('Ran last')}</Sub>
          <TaskList tasks={answer.recent} time={data.time} onTask={onTask} shown={6} />
        </>
      )}
      {askable && (
        <LogLines model={model} source={{ worker: id }} live={live} brief onSelect={onSelect} />
      )}
      {problem !== '' && worker !== null && <p className="fl-Hint">{problem}</p>}
    </div>
  );
}
