/** Puts the sections together. Each gets just the part of the state that it shows. */
import { Component, useCallback, useState, useSyncExternalStore, type ReactNode } from 'react';
import { count, plural } from '../format';
import { memoryShare, memoryText, storeText, totals } from '../model/selectors';
import type { Data, State } from '../model/state';
import { Actors } from '../sections/actors';
import { Errors, Running } from '../sections/errors';
import { Gpus } from '../sections/gpus';
import { Graph } from '../sections/graph';
import { Header } from '../sections/header';
import { Notice } from '../sections/notice';
import { ObjectStore } from '../sections/objectstore';
import { Progress } from '../sections/progress';
import { Workers } from '../sections/workers';
import { Drawer, type Selection } from './drawer';
import type { PanelModel, PanelView } from './model';
import { Section } from './parts';

export function Panel({ model }: { model: PanelModel }) {
  const state = useSyncExternalStore(model.session.store.subscribe, model.session.store.get);
  const view = useSyncExternalStore(model.subscribe, model.get);
  const retry = useCallback(() => model.session.retryNow(), [model]);
  if (!view.visible) {
    return null; // nobody looks: nothing is rendered
  }
  return (
    <>
      <Header
        state={state}
        focusTitle={view.focusTitle}
        pinned={view.pinned}
        onPin={model.pin}
      />
      <Notice state={state} focusTitle={view.focusTitle} onPin={model.pin} onRetry={retry} />
      {state.data && (
        <Body
          key={state.data.runtime.id}
          model={model}
          view={view}
          state={state}
          data={state.data}
        />
      )}
    </>
  );
}

interface BodyProps {
  model: PanelModel;
  view: PanelView;
  state: State;
  data: Data;
}

function Body({ model, view, state, data }: BodyProps) {
  const [selection, setSelection] = useState<Selection | null>(null);
  const onGroup = useCallback(
    (id: number) =>
      setSelection(old =>
        old?.kind === 'group' && old.id === id ? null : { kind: 'group', id }
      ),
    []
  );
  const onTask = useCallback((id: string) => setSelection({ kind: 'task', id }), []);
  const live = state.phase === 'live';
  const runtimeId = data.runtime.id;
  const t = totals(data);
  const part = (
    id: string,
    title: string,
    summary: ReactNode,
    body: ReactNode,
    bad = false
  ) => (
    <Section
      id={id}
      title={title}
      summary={summary}
      tone={bad ? 'bad' : undefined}
      open={!view.folded.includes(id)}
      onToggle={model.toggle}
    >
      <Guard what={title}>{body}</Guard>
    </Section>
  );
  const alive = [...data.actors.values()].filter(a => a.state !== 'DEAD').length;
  const over = t.counts.done + t.counts.failed + t.counts.cancelled;
  const all = over + t.counts.pending + t.counts.running;
  return (
    <>
      <div className={`fl-Scroll ${live ? '' : 'fl-Scroll-stale'}`} tabIndex={-1}>
        {part(
          'progress',
          'Progress',
          all > 0 && `${count(over)}/${count(all)}`,
          <Progress
            data={data}
            groups={data.groups}
            samples={data.samples}
            time={data.time}
            onGroup={onGroup}
          />
        )}
        {part(
          'graph',
          'Task graph',
          data.groups.size > 0 && plural(data.groups.size, 'function'),
          <Graph
            groups={data.groups}
            edges={data.edges}
            selected={selection?.kind === 'group' ? selection.id : null}
            onGroup={onGroup}
          />
        )}
        {part(
          'errors',
          'Errors',
          data.errors.length > 0 ? count(data.errors.length) : 'none',
          <Errors errors={data.errors} onTask={onTask} />,
          data.errors.length > 0
        )}
        {part(
          'store',
          'Object store',
          storeText(data),
          <ObjectStore
            runtimeId={runtimeId}
            store={data.store}
            objects={data.objects}
            theme={view.theme}
            loadChart={model.loadChart}
          />
        )}
        {part(
          'workers',
          'Workers',
          [count(data.workers.length), memoryText(data)].filter(Boolean).join(' · '),
          <Workers workers={data.workers} onTask={onTask} />,
          (memoryShare(data) ?? 0) > 0.9
        )}
        {part(
          'running',
          'Running tasks',
          count(t.counts.running),
          <Running tasks={data.tasks} time={data.time} onTask={onTask} />
        )}
        {part(
          'actors',
          'Actors',
          data.actors.size > 0 ? `${count(alive)} alive` : 'none',
          <Actors
            runtimeId={runtimeId}
            actors={data.actors}
            live={live}
            actions={model.actions}
          />
        )}
        {part(
          'gpus',
          'GPUs',
          data.gpus.length > 0 ? count(data.gpus.length) : 'none',
          <Gpus gpus={data.gpus} status={data.gpuStatus} />
        )}
      </div>
      {selection && (
        <Drawer
          selection={selection}
          data={data}
          live={live}
          actions={model.actions}
          onSelect={setSelection}
        />
      )}
    </>
  );
}

/** A section that fails says so and leaves the others alone. */
class Guard extends Component<{ what: string; children: ReactNode }, { failed: string }> {
  override state = { failed: '' };

  static getDerivedStateFromError(error: unknown): { failed: string } {
    return { failed: String(error) };
  }

  override render(): ReactNode {
    if (!this.state.failed) {
      return this.props.children;
    }
    return (
      <p className="fl-Empty">
        {this.props.what} could not be drawn: {this.state.failed}{' '}
        <button type="button" className="fl-Link" onClick={() => this.setState({ failed: '' })}>
          Try again
        </button>
      </p>
    );
  }
}
