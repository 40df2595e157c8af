/** The notice of a panel or a page: what there is to say of its source, with what its host can do. */
import { useCallback } from 'react';
import type { State } from '../model/state';
import { Notice } from '../sections/notice';
import type { PanelModel, PanelView } from './model';

export function Situation(props: { model: PanelModel; state: State; view: PanelView }) {
  const { model, state, view } = props;
  const retry = useCallback(() => model.source.retryNow(), [model]);
  return (
    <Notice
      state={state}
      focusTitle={view.focusTitle}
      pinned={view.pinned}
      onPin={model.pin}
      onRetry={retry}
      onStart={model.startHere}
      onAddCell={model.addCell}
    />
  );
}
