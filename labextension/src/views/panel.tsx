/** Puts the sections together. Each gets just the part of the state that it shows. */
import { Component, useCallback, useState, useSyncExternalStore, type ReactNode } from 'react';
import { SECTIONS } from '../sections';
import { Header } from '../sections/header';
import { Notice } from '../sections/notice';
import type { Data, State } from '../model/state';
import { Drawer } from './drawer';
import type { PanelModel, PanelView } from './model';
import { Section } from './parts';
import type { SectionProps, Selection } from './section';

export function Panel({ model }: { model: PanelModel }) {
  const state = useSyncExternalStore(model.source.store.subscribe, model.source.store.get);
  const view = useSyncExternalStore(model.subscribe, model.get);
  const retry = useCallback(() => model.source.retryNow(), [model]);
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
  // A second click on what is selected puts it away.
  const onSelect = useCallback(
    (next: Selection | null) =>
      setSelection(old =>
        next?.kind === 'group' && old?.kind === 'group' && old.id === next.id ? null : next
      ),
    []
  );
  const live = state.phase === 'live';
  const props: SectionProps = { model, state, data, live, wide: false, selection, onSelect };
  return (
    <>
      <div className={`fl-Scroll ${live ? '' : 'fl-Scroll-stale'}`} tabIndex={-1}>
        {SECTIONS.map(({ id, title, summary, bad, Body: Content }) => (
          <Section
            key={id}
            id={id}
            title={title()}
            summary={summary(data, state)}
            tone={bad?.(data) ? 'bad' : undefined}
            open={!view.folded.includes(id)}
            onToggle={model.toggle}
          >
            <Guard what={title()}>
              <Content {...props} />
            </Guard>
          </Section>
        ))}
      </div>
      {selection && (
        <Drawer
          selection={selection}
          data={data}
          live={live}
          source={model.source}
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
