/** The panel in an element of any page, on any source: no JupyterLab is needed. */
import type { ReactElement } from 'react';
import { createRoot } from 'react-dom/client';
import type { Source } from '../model/source';
import { PanelModel, type PanelModelOptions } from '../views/model';
import { Panel } from '../views/panel';
import { followTheme } from './theme';

export interface ShowOptions {
  /** What is watched, for the panel's head: the name of a notebook or of a recording. */
  title?: string;
  pin?: PanelModelOptions['pin'];
  goToCell?: PanelModelOptions['goToCell'];
  cellTitle?: PanelModelOptions['cellTitle'];
  loadChart?: PanelModelOptions['loadChart'];
  /** Drawn with much room: sections stand side by side. */
  wide?: boolean;
  /** Stands above the panel: the player of a recording. */
  head?: ReactElement;
}

export interface Shown {
  readonly model: PanelModel;
  /** Takes the panel off the page again; the source stays the caller's. */
  dispose(): void;
}

/** Draws while the element is on view; nothing is drawn, asked or sent while it is not. */
export function show(host: HTMLElement, source: Source, options: ShowOptions = {}): Shown {
  const model = new PanelModel({
    source,
    pin: options.pin ?? null,
    goToCell: options.goToCell ?? null,
    cellTitle: options.cellTitle,
    loadChart: options.loadChart ?? (() => import('../chart')),
    save: () => undefined
  });
  model.update({ focusTitle: options.title ?? '' });
  host.classList.add('fl-Panel', 'fl-Standalone');
  host.setAttribute('role', 'region');
  host.setAttribute('aria-label', 'Fanlight');
  // JupyterLab's shortcuts (Enter, arrows) belong to cells; in here they are the panel's.
  host.setAttribute('data-lm-suppress-shortcuts', 'true');
  const stopTheme = followTheme(host, () => model.update({ theme: String(performance.now()) }));
  const root = createRoot(host);
  root.render(
    <>
      {options.head}
      <Panel model={model} wide={options.wide} />
    </>
  );
  const stopWatching = whileOnView(host, visible => model.setVisible(visible));
  return {
    model,
    dispose: () => {
      stopWatching();
      stopTheme();
      model.setVisible(false);
      root.unmount();
      host.classList.remove('fl-Panel', 'fl-Standalone', 'fl-Plain');
    }
  };
}

/** Says whether the element can be seen: it is scrolled into view, in a page that is in front. */
function whileOnView(host: HTMLElement, tell: (visible: boolean) => void): () => void {
  let inView = false;
  const look = (): void => tell(inView && !document.hidden);
  const observer = new IntersectionObserver(entries => {
    inView = entries[entries.length - 1].isIntersecting;
    look();
  });
  observer.observe(host);
  document.addEventListener('visibilitychange', look);
  return () => {
    observer.disconnect();
    document.removeEventListener('visibilitychange', look);
  };
}
