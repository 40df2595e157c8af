/** When each task ran and where: lanes of workers and actors, with the chain that decided how long. */
import { useMemo, useRef, useState, useSyncExternalStore } from 'react';
import { count, duration } from '../format';
import { trans } from '../i18n';
import { totals } from '../model/selectors';
import type { SectionProps, SectionSpec } from '../views/section';
import { Empty } from '../views/parts';
import { useWidth } from '../views/useWidth';
import { criticalPath } from './timeline/critical';
import { figures } from './timeline/figures';
import { Legend } from './timeline/legend';
import { matcher } from './timeline/match';
import { Overview } from './timeline/overview';
import { PathView } from './timeline/pathview';
import { Plot } from './timeline/plot';
import { LaneTable, StepTable } from './timeline/tables';
import { useFeed } from './timeline/useFeed';
import { usePaint } from './timeline/usePaint';
import { followed, since, tickStep, whole, zoomed, type View } from './timeline/view';
import { figuresText, functionName } from './timeline/words';

const WIDE = 620; // pixels from which the names of lanes stand beside them
const ZOOM = 1.8;

export function Timeline(props: SectionProps) {
  const { model, data, live, selection, onSelect } = props;
  const shown = useSyncExternalStore(model.subscribe, model.get, model.get);
  const host = useRef<HTMLDivElement>(null);
  const width = useWidth(host);
  const look = usePaint(host, shown.theme);
  const askable = live || model.source.kind === 'replay';
  const { feed, version, again } = useFeed(model.source, data, askable);
  const [chosen, setChosen] = useState<View | null>(null);
  const [critical, setCritical] = useState(false);
  const [table, setTable] = useState(false);

  const extent = feed.extent(data.time);
  const view = extent && followed(chosen, extent);
  const lit = useMemo(
    () => matcher(shown.filter, feed, data),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [shown.filter, feed, version, data.workers]
  );
  const selectedId = selection?.kind === 'task' ? selection.id : '';
  const selected = useMemo(
    () => (selectedId ? feed.spans.find(selectedId) : -1),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [feed, version, selectedId]
  );
  const path = useMemo(
    () => (critical ? criticalPath(feed.spans, feed.clients, selected) : null),
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [feed, version, critical, selected]
  );
  const pending = useMemo(
    () =>
      [...data.tasks.values()]
        .filter(task => !task.started && !task.finished)
        .map(task => task.submitted),
    [data.tasks]
  );
  const wide = width >= WIDE;
  const onSpan = (span: number): void => onSelect({ kind: 'task', id: feed.spans.id(span) });

  return (
    <div className="fl-Time" ref={host} data-loaded={feed.loaded}>
      {feed.problem !== '' && (
        <p className="fl-Hint">
          {feed.problem}{' '}
          <button type="button" className="fl-Link" onClick={again}>
            {trans.__('Ask again')}
          </button>
        </p>
      )}
      {(!extent || !view) && <Nothing {...props} loaded={feed.loaded} problem={feed.problem} />}
      {extent && view && width > 0 && (
        <>
          <div className="fl-Time-tools">
            <Toggle
              on={critical}
              onClick={() => setCritical(!critical)}
              title={trans.__('Show the chain of tasks that decided how long it took')}
            >
              {trans.__('Critical path')}
            </Toggle>
            <Toggle
              on={table}
              onClick={() => setTable(!table)}
              title={trans.__('Show lanes and steps as tables')}
            >
              {trans.__('Table')}
            </Toggle>
            <span className="fl-Time-range">
              {since(view.begin - extent.begin, tickStep(view.end - view.begin, 20))}
              {' – '}
              {since(view.end - extent.begin, tickStep(view.end - view.begin, 20))}
            </span>
            {feed.running > 0 && (
              <Toggle
                on={view.follow !== null}
                onClick={() =>
                  setChosen({ ...view, follow: view.follow === null ? 'newest' : null })
                }
                title={trans.__('Move on with what runs now')}
              >
                {trans.__('Follow')}
              </Toggle>
            )}
            <span className="fl-Time-zoom" role="group" aria-label={trans.__('Zoom')}>
              {(
                [
                  ['−', trans.__('Show more time'), ZOOM],
                  ['+', trans.__('Show less time'), 1 / ZOOM]
                ] as const
              ).map(([sign, title, factor]) => (
                <button
                  key={sign}
                  type="button"
                  className="fl-Icon"
                  aria-label={title}
                  title={title}
                  onClick={() =>
                    setChosen(zoomed(view, extent, factor, (view.begin + view.end) / 2))
                  }
                >
                  {sign}
                </button>
              ))}
              <button
                type="button"
                className="fl-Button"
                disabled={view.follow === 'whole'}
                title={trans.__('Show all of the time')}
                onClick={() => setChosen(whole(extent))}
              >
                {trans.__('All')}
              </button>
            </span>
          </div>
          <Overview
            feed={feed}
            version={version}
            extent={extent}
            view={view}
            width={width}
            paint={look.paint}
            onView={setChosen}
          />
          {table ? (
            <LaneTable feed={feed} version={version} view={view} />
          ) : (
            <Plot
              feed={feed}
              version={version}
              extent={extent}
              view={view}
              now={data.time}
              pending={pending}
              width={width}
              wide={wide}
              look={look}
              lit={lit}
              path={path}
              selected={selected}
              onView={setChosen}
              onSpan={onSpan}
            />
          )}
          <p className="fl-Time-figures">
            {figuresText(figures(feed.lanes, view.begin, view.end, data.time))}
          </p>
          <Legend
            feed={feed}
            version={version}
            paint={look.paint}
            filter={shown.filter}
            onFilter={change => model.setFilter(change)}
          />
          {path && (
            <PathView
              feed={feed}
              path={path}
              paint={look.paint}
              target={selected >= 0 ? functionName(feed, feed.spans.group[selected]) : ''}
            />
          )}
          {path && table && <StepTable feed={feed} path={path} onSpan={onSpan} />}
          {feed.forgotten > 0 && (
            <p className="fl-Hint">
              {trans._n(
                '%2 older task is not shown: the newest %3 are kept.',
                '%2 older tasks are not shown: the newest %3 are kept.',
                feed.forgotten,
                count(feed.forgotten),
                count(feed.spans.limit)
              )}
            </p>
          )}
        </>
      )}
    </div>
  );
}

interface ToggleProps {
  on: boolean;
  title: string;
  onClick: () => void;
  children: string;
}

function Toggle({ on, title, onClick, children }: ToggleProps) {
  return (
    <button
      type="button"
      className={`fl-Button ${on ? 'fl-Time-on' : ''}`}
      aria-pressed={on}
      title={title}
      onClick={onClick}
    >
      {children}
    </button>
  );
}

/** Why there is nothing to see. */
function Nothing(props: SectionProps & { loaded: boolean; problem: string }) {
  const { data, live, loaded, problem, model } = props;
  if (problem) {
    return null;
  }
  if (!loaded && !live && model.source.kind === 'live') {
    return (
      <Empty>
        {trans.__('The runtime is not there any more; its timeline had not been asked for.')}
      </Empty>
    );
  }
  if (!loaded) {
    return <Empty>{trans.__('Asking the runtime when its tasks ran…')}</Empty>;
  }
  const { counts } = totals(data);
  if (counts.pending > 0) {
    return (
      <Empty>{trans.__('No task has started yet. Progress says what they wait for.')}</Empty>
    );
  }
  return (
    <Empty>
      {trans.__('No task has run yet. Each worker gets a lane, each task a bar in it.')}
    </Empty>
  );
}

export const timeline: SectionSpec = {
  id: 'timeline',
  title: () => trans.__('Timeline'),
  summary: data => {
    const groups = [...data.groups.values()];
    const ran = groups.reduce((sum, group) => sum + group.duration, 0);
    return ran > 0 ? trans.__('%1 in tasks', duration(ran)) : '';
  },
  Body: Timeline
};
