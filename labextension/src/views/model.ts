/** What the panel's views work with beside the events: focus, theme, folded sections. */
import type { Source } from '../model/source';
import type { Stage } from '../model/selectors';
import type { ChartModule } from '../model/charts';
import type { Recorder } from '../replay/record';

/** Which tasks are of interest; shared by the sections that show tasks. "" and null: all. */
export interface Filter {
  text: string;
  cell: string;
  group: number | null;
  state: Stage | '';
  worker: string;
}

export const NO_FILTER: Filter = { text: '', cell: '', group: null, state: '', worker: '' };

export interface PanelView {
  focusTitle: string;
  /** The kernel of the notebook in front, "" without one. */
  focusKernel: string;
  /** Changes whenever colours may have changed. */
  theme: string;
  folded: readonly string[];
  /** Sections that the user's settings leave out of the panel; they can be opened as tabs. */
  hidden: readonly string[];
  pinned: string;
  visible: boolean;
  filter: Filter;
}

/** Where sections can be shown as tabs of their own. */
export interface Tabs {
  open(section: string): void;
  /** The pointer went down on a section's head, and may drag it to where tabs are. */
  drag(section: string, down: { clientX: number; clientY: number }): void;
}

export interface PanelModelOptions {
  source: Source;
  /** Follow one runtime whatever is in front, "" to follow the notebook; null: nothing to choose. */
  pin: ((runtimeId: string) => void) | null;
  /** Shows a cell, and a line of it, in its notebook; null where there are no notebooks. */
  goToCell: ((origin: string, line?: number) => void) | null;
  /** Shows the cell whose line (from 1) is this code, as tracebacks name it; false: none has it. */
  goToCode?: (code: string, line: number) => boolean;
  /** "[5] first line of the cell"; null where no open notebook has it. */
  cellTitle?: (origin: string) => string | null;
  /** Without them sections stay where they are. */
  tabs?: Tabs;
  /** Runs `import fanlight; fanlight.init()` in the notebook in front, because somebody asked. */
  startHere?: () => Promise<void>;
  /** Ends the runtime of the notebook in front and starts one with the same options. */
  restartHere?: () => Promise<void>;
  /** Adds a cell with this code below the active one of the notebook in front. */
  addCell?: (code: string) => void;
  /** Records runtimes into files; without it there is no button for that. */
  recorder?: Recorder;
  loadChart: () => Promise<ChartModule>;
  /** Keeps which sections are folded from one visit to the next. */
  save: (folded: readonly string[]) => void;
}

export const FOLDED_AT_FIRST: readonly string[] = ['running', 'actors', 'gpus'];

export class PanelModel {
  readonly source: Source;
  readonly goToCell: PanelModelOptions['goToCell'];
  readonly goToCode: ((code: string, line: number) => boolean) | null;
  readonly cellTitle: (origin: string) => string | null;
  readonly tabs: Tabs | null;
  readonly startHere: (() => Promise<void>) | null;
  readonly restartHere: (() => Promise<void>) | null;
  readonly addCell: ((code: string) => void) | null;
  readonly recorder: Recorder | null;
  readonly loadChart: PanelModelOptions['loadChart'];
  private readonly follow: PanelModelOptions['pin'];
  private readonly save: PanelModelOptions['save'];
  private readonly listeners = new Set<() => void>();
  private view: PanelView = {
    focusTitle: '',
    focusKernel: '',
    theme: '',
    folded: FOLDED_AT_FIRST,
    hidden: [],
    pinned: '',
    visible: false,
    filter: NO_FILTER
  };

  constructor(options: PanelModelOptions) {
    this.source = options.source;
    this.goToCell = options.goToCell;
    this.goToCode = options.goToCode ?? null;
    this.cellTitle = options.cellTitle ?? (() => null);
    this.tabs = options.tabs ?? null;
    this.startHere = options.startHere ?? null;
    this.restartHere = options.restartHere ?? null;
    this.addCell = options.addCell ?? null;
    this.recorder = options.recorder ?? null;
    this.follow = options.pin;
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
      this.source.watch('panel', visible);
    }
  }

  readonly toggle = (section: string): void => {
    const folded = this.view.folded.includes(section)
      ? this.view.folded.filter(name => name !== section)
      : [...this.view.folded, section];
    this.update({ folded });
    this.save(folded);
  };

  setFilter(change: Partial<Filter>): void {
    this.update({ filter: { ...this.view.filter, ...change } });
  }

  /** Whether there is more than one runtime to choose from: the header then offers it. */
  get canPin(): boolean {
    return this.follow !== null;
  }

  readonly pin = (runtimeId: string): void => {
    this.follow?.(runtimeId);
    this.update({ pinned: runtimeId });
  };
}
