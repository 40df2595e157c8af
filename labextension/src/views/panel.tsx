/** Puts the sections together. Each gets just the part of the state that it shows. */
import { useSyncExternalStore } from 'react';
import { SECTIONS } from '../sections';
import { Controls } from '../sections/controls';
import { Header } from '../sections/header';
import type { Data, State } from '../model/state';
import { Drawer } from './drawer';
import { Guard } from './guard';
import type { PanelModel, PanelView } from './model';
import { Section } from './parts';
import type { SectionProps } from './section';
import { useSelection } from './selection';
import { Situation } from './situation';

export interface PanelProps {
  model: PanelModel;
  /** Whether anybody looks; without it as the model says, which is right for the sidebar. */
  visible?: boolean;
  /** Drawn with much room: sections stand side by side. */
  wide?: boolean;
}

export function Panel({ model, visible, wide = false }: PanelProps) {
  const state = useSyncExternalStore(model.source.store.subscribe, model.source.store.get);
  const view = useSyncExternalStore(model.subscribe, model.get);
  if (!(visible ?? view.visible)) {
    return null; // nobody looks: nothing is rendered
  }
  return (
    <>
      <Header
        state={state}
        focusTitle={view.focusTitle}
        pinned={view.pinned}
        onPin={model.pin}
        controls={
          state.data &&
          state.phase === 'live' &&
          model.source.controls && (
            <Controls
              model={model}
              data={state.data}
              recordings={state.recordings}
              focusKernel={view.focusKernel}
            />
          )
        }
      />
      <Situation model={model} state={state} view={view} />
      {state.data && (
        <Body
          key={state.data.runtime.id}
          model={model}
          view={view}
          state={state}
          data={state.data}
          wide={wide}
        />
      )}
    </>
  );
}

interface BodyProps {
  wide: boolean;
  model: PanelModel;
  view: PanelView;
  state: State;
  data: Data;
}

function Body({ model, view, state, data, wide }: BodyProps) {
  const { selection, onClick, onShow } = useSelection();
  const live = state.phase === 'live';
  const props: SectionProps = {
    model,
    state,
    data,
    live,
    wide,
    selection,
    onSelect: onClick
  };
  return (
    <div className={wide ? 'fl-Page' : 'fl-Stack'}>
      <div
        className={`fl-Scroll ${live ? '' : 'fl-Scroll-stale'} ${wide ? 'fl-Scroll-wide' : ''}`}
        tabIndex={-1}
      >
        {SECTIONS.filter(s => !view.hidden.includes(s.id)).map(
          ({ id, title, summary, bad, Body: Content }) => (
            <Section
              key={id}
              id={id}
              title={title()}
              summary={summary(data, state)}
              tone={bad?.(data) ? 'bad' : undefined}
              open={!view.folded.includes(id)}
              onToggle={model.toggle}
              tabs={model.tabs}
            >
              <Guard what={title()}>
                <Content {...props} />
              </Guard>
            </Section>
          )
        )}
      </div>
      {selection && (
        <Drawer model={model} selection={selection} data={data} live={live} onSelect={onShow} />
      )}
    </div>
  );
}
