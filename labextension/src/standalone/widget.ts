/** The widget of `fanlight.panel()`, as anywidget wants it: one session a model, one panel a view. */
import { Session } from '../model/session';
import type { Query } from '../model/queries';
import type { Source } from '../model/source';
import { takeChartsFrom } from './charts';
import { KernelLink, type WidgetModel } from './comm';
import { show } from './show';

/** By the widget's channel; exported for tests and for who looks for a fault. */
const sessions = new Map<string, Session>();
let made = 0;

/** Called by anywidget once for each widget, before it is shown; what it returns, at its end. */
function initialize({ model }: { model: WidgetModel }): () => void {
  const link = new KernelLink(model);
  takeChartsFrom(() => link.loadCharts());
  const session = new Session({
    connect: () => link.connect(),
    diagnose: async () => null,
    schedule: run => requestAnimationFrame(run)
  });
  const channel = String(model.get('channel'));
  sessions.set(channel, session);
  return () => {
    sessions.delete(channel);
    session.dispose();
    link.dispose();
  };
}

/** Called by anywidget for each place where the widget is shown. */
function render({ model, el }: { model: WidgetModel; el: HTMLElement }): () => void {
  addStyle();
  const session = sessions.get(String(model.get('channel')))!;
  made += 1;
  el.classList.add('fl-Widget');
  // Lists in outputs look like documents there, by rules that would win over the panel's.
  const output = el.closest('.jp-OutputArea-output');
  output?.classList.replace('jp-OutputArea-output', 'fl-Output');
  const host = document.createElement('div');
  host.style.height = `${Number(model.get('height'))}px`;
  el.append(host);
  const shown = show(host, view(session, `view-${made}`), { pin: id => session.pin(id) });
  return () => shown.dispose();
}

/** The same source, watched under the view's own name: hiding one view hides no other. */
function view(session: Session, name: string): Source {
  return {
    kind: session.kind,
    store: session.store,
    controls: session.controls,
    ask: <T>(query: Query) => session.ask<T>(query),
    command: command => session.command(command),
    watch: (who, visible) => session.watch(`${name}:${who}`, visible),
    retryNow: () => session.retryNow(),
    dispose: () => undefined
  };
}

/** JupyterLab with the extension has the style sheets already; they must not come twice. */
function addStyle(): void {
  const { style } = (globalThis as { FanlightStandalone?: { style?: string } })
    .FanlightStandalone!;
  const probe = document.createElement('div');
  probe.className = 'fl-Panel';
  probe.hidden = true;
  document.body.append(probe);
  const known = getComputedStyle(probe).getPropertyValue('--fl-done') !== '';
  probe.remove();
  if (!known && style) {
    const element = document.createElement('style');
    element.textContent = style;
    document.head.append(element);
  }
}

export const widget = { initialize, render, sessions };
