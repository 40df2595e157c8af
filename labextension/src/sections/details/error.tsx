/** One cause of failures: how often and when, which tasks, the traceback, the way to the cell. */
import { clock, count } from '../../format';
import { trans } from '../../i18n';
import { CellLink } from '../../views/cell';
import { Empty } from '../../views/parts';
import { CauseText } from '../errors';
import { useCauses } from '../causes';
import { Fact, Facts, Sub, TaskTag } from './facts';
import type { DetailProps } from './props';
import { Trace } from './trace';

const EXAMPLES = 12;

export function ErrorDetail({ id, model, data, live, onSelect }: DetailProps) {
  const causes = useCauses(model, data, live);
  const cause = causes.find(c => c.id === id) ?? causes.find(c => c.tasks.includes(id));
  if (!cause) {
    return <Empty>{trans.__('Newer failures have taken its place.')}</Empty>;
  }
  return (
    <div className="fl-Detail">
      <p>
        <CauseText cause={cause} />
      </p>
      <CellLink model={model} origin={cause.origin} />
      <Facts>
        <Fact name={trans.__('Function')}>
          <button
            type="button"
            className="fl-Link"
            onClick={() => onSelect({ kind: 'group', id: cause.group })}
          >
            {cause.name.slice(0, 200)}
          </button>
        </Fact>
        <Fact name={trans.__('Times')}>{count(cause.count)}</Fact>
        {cause.count > 1 && <Fact name={trans.__('First')}>{clock(cause.first)}</Fact>}
        <Fact name={cause.count > 1 ? trans.__('Last') : trans.__('At')}>
          {clock(cause.last)}
        </Fact>
      </Facts>
      <Trace model={model} text={cause.traceback || cause.message} />
      <Sub>{trans.__('Tasks that failed so')}</Sub>
      <div className="fl-Related">
        {cause.tasks.slice(0, EXAMPLES).map(task => (
          <TaskTag
            key={task}
            id={task}
            name={data.tasks.get(task)?.name ?? cause.name}
            task={data.tasks.get(task)}
            onTask={chosen => onSelect({ kind: 'task', id: chosen })}
          />
        ))}
        {cause.count > EXAMPLES && (
          <small>{trans.__('and %1 more', count(cause.count - EXAMPLES))}</small>
        )}
      </div>
    </div>
  );
}
