/** All tasks of one function: how far they are, how long they take, each of them. */
import { count, duration, rate } from '../../format';
import { trans } from '../../i18n';
import { progressRow, stageCounts } from '../../model/selectors';
import { CancelGroups } from '../../views/cancel';
import { CellLink } from '../../views/cell';
import { Choice } from '../../views/choice';
import { useKept } from '../../views/kept';
import { Empty, StackedBar, countsText } from '../../views/parts';
import { Tasks } from '../tasks';
import { Fact, Facts } from './facts';
import type { DetailProps } from './props';
import { TaskTable } from './tasktable';

export function GroupDetail(props: DetailProps) {
  const { id, model, data, live, onSelect } = props;
  const [view, setView] = useKept<'map' | 'table'>('group-tasks', 'map');
  const group = data.groups.get(Number(id));
  if (!group) {
    return <Empty>{trans.__('Nothing is known about this function any more.')}</Empty>;
  }
  const row = progressRow(group, data.samples.get(group.id) ?? [], data.time);
  const counts = stageCounts(group);
  return (
    <div className="fl-Detail">
      <p className="fl-Task-state">
        <span>{countsText(counts)}</span>
        <CancelGroups
          source={model.source}
          live={live}
          groups={[group.id]}
          counts={counts}
          what={group.name.slice(0, 100)}
        />
      </p>
      <CellLink model={model} origin={group.origin} />
      <StackedBar counts={counts} label={trans.__('%1: ended of all', group.name)} />
      <Facts>
        <Fact name={trans.__('Each')}>
          {row.mean !== null && row.mean > 0 && duration(row.mean)}
        </Fact>
        <Fact name={trans.__('Together')}>
          {group.duration > 0 && duration(group.duration)}
        </Fact>
        <Fact name={trans.__('Rate')}>
          {row.rate !== null && row.rate > 0 && rate(row.rate)}
        </Fact>
        <Fact name={trans.__('Left')}>{row.eta !== null && duration(row.eta)}</Fact>
        <Fact name={trans.__('Tasks')}>{count(row.total)}</Fact>
      </Facts>
      <div className="fl-Detail-choice">
        <Choice
          label={trans.__('Single tasks as')}
          value={view}
          options={[
            ['map', trans.__('Map')],
            ['table', trans.__('Table')]
          ]}
          onChoose={setView}
        />
      </div>
      {view === 'table' ? (
        <TaskTable {...props} />
      ) : (
        <Tasks
          group={group}
          tasks={data.tasks}
          time={data.time}
          selected=""
          source={model.source}
          onTask={task => onSelect({ kind: 'task', id: task })}
        />
      )}
    </div>
  );
}
