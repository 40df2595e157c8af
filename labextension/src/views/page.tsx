/** One section with much room: a tab of the main area. What was clicked is shown beside it. */
import { useSyncExternalStore } from 'react';
import { trans } from '../i18n';
import type { Data, State } from '../model/state';
import { SECTIONS } from '../sections';
import { connection } from '../sections/header';
import { Drawer } from './drawer';
import { Guard } from './guard';
import type { PanelModel } from './model';
import type { SectionSpec } from './section';
import { useSelection } from './selection';
import { Situation } from './situation';

export interface PageProps {
  model: PanelModel;
  section: string;
  /** Nobody looks otherwise: nothing is rendered. */
  visible: boolean;
}

export function Page({ model, section, visible }: PageProps) {
  const state = useSyncExternalStore(model.source.store.subscribe, model.source.store.get);
  const view = useSyncExternalStore(model.subscribe, model.get);
  const spec = SECTIONS.find(s => s.id === section);
  if (!visible) {
    return null;
  }
  if (!spec) {
    return <p className="fl-Empty">{trans.__('This version has no section “%1”.', section)}</p>;
  }
  return (
    <>
      <Bar spec={spec} state={state} title={view.focusTitle} />
      <Situation model={model} state={state} view={view} />
      {state.data && (
        <Content
          key={state.data.runtime.id}
          model={model}
          spec={spec}
          state={state}
          data={state.data}
        />
      )}
    </>
  );
}

/** What is shown, of which notebook, and whether it is live. */
function Bar({ spec, state, title }: { spec: SectionSpec; state: State; title: string }) {
  const { light, text } = connection(state);
  return (
    <div className="fl-Bar-head">
      <h3>{spec.title()}</h3>
      {title !== '' && <span className="fl-Chip">{title}</span>}
      <span className="fl-Section-summary">
        {state.data ? spec.summary(state.data, state) : ''}
      </span>
      <span className={`fl-Light fl-Light-${light}`} role="status">
        <span className="fl-Light-dot" aria-hidden="true" />
        {text}
      </span>
    </div>
  );
}

interface ContentProps {
  model: PanelModel;
  spec: SectionSpec;
  state: State;
  data: Data;
}

function Content({ model, spec, state, data }: ContentProps) {
  const { selection, onClick, onShow } = useSelection();
  const live = state.phase === 'live';
  const { Body } = spec;
  return (
    <div className="fl-Page">
      <div className={`fl-Page-body ${live ? '' : 'fl-Page-stale'}`} data-section={spec.id}>
        <Guard what={spec.title()}>
          <Body
            model={model}
            state={state}
            data={data}
            live={live}
            wide
            selection={selection}
            onSelect={onClick}
          />
        </Guard>
      </div>
      {selection && (
        <Drawer model={model} selection={selection} data={data} live={live} onSelect={onShow} />
      )}
    </div>
  );
}
