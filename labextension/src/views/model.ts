/** What the panel's views work with beside the events: focus, theme, folded sections. */
import type { Session } from '../model/session';
import type { Actions } from '../rest';
import type { StoreChart } from '../chart';

export interface PanelView {
  focusTitle: string;
  /** Changes whenever colours may have changed. */
  theme: string;
  folded: readonly string[];
  pinned: string;
  visible: boolean;
}

export interface PanelModelOptions {
  session: Session;
  actions: Actions;
  loadChart: () => Promise<{ createStoreChart: (host: HTMLElement) => StoreChart }>;
  /** Keeps which sections are folded from one visit to the next. */
  save: (folded: readonly string[]) => void;
}

export const FOLDED_AT_FIRST: readonly string[] = ['running', 'actors', 'gpus'];

export class PanelModel {
  readonly session: Session;
  readonly actions: Actions;
  readonly loadChart: PanelModelOptions['loadChart'];
  private readonly save: PanelModelOptions['save'];
  private readonly listeners = new Set<() => void>();
  private view: PanelView = {
    focusTitle: '',
    theme: '',
    folded: FOLDED_AT_FIRST,
    pinned: '',
    visible: false
  };

  constructor(options: PanelModelOptions) {
    this.session = options.session;
    this.actions = options.actions;
    this.loadChart = options.loadChart;
    this.save = options.save;
  }

  readonly get = (): PanelView => this.view;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  update(change: Partial<PanelView>): void {
    this.view = { ...this.view, ...change };
    this.listeners.forEach(listener => listener());
  }

  setVisible(visible: boolean): void {
    if (visible !== this.view.visible) {
      this.update({ visible });
      this.session.watch('panel', visible);
    }
  }

  readonly toggle = (section: string): void => {
    const folded = this.view.folded.includes(section)
      ? this.view.folded.filter(name => name !== section)
      : [...this.view.folded, section];
    this.update({ folded });
    this.save(folded);
  };

  readonly pin = (runtimeId: string): void => {
    this.session.pin(runtimeId);
    this.update({ pinned: runtimeId });
  };
}
