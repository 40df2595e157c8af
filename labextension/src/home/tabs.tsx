/**
 * Sections, and the whole panel, as tabs: in JupyterLab's main area, in Notebook 7's lower one. One
 * tab of each; which are open, and where, is restored with the layout.
 */
import { ILabShell, type ILayoutRestorer, type JupyterFrontEnd } from '@jupyterlab/application';
import { WidgetTracker } from '@jupyterlab/apputils';
import { ReactWidget } from '@jupyterlab/ui-components';
import { MimeData } from '@lumino/coreutils';
import type { Message } from '@lumino/messaging';
import { SplitPanel, TabPanel, type Widget } from '@lumino/widgets';
import { trans } from '../i18n';
import { fanlightIcon } from '../icons';
import { SECTIONS } from '../sections';
import type { PanelModel } from '../views/model';
import { Page } from '../views/page';
import { Panel } from '../views/panel';
import type { Presence } from './presence';

/** The id of the tab that holds all sections. */
export const EVERYTHING = 'all';

const FAR = 6; // pixels that a pointer moves before it drags
const FACTORY = 'application/vnd.lumino.widget-factory';

export class SectionTab extends ReactWidget {
  constructor(
    readonly section: string,
    private readonly model: PanelModel,
    private readonly presence: Presence
  ) {
    super();
    this.id = `fanlight-tab-${section}`;
    this.addClass('fl-Panel');
    this.addClass('fl-Tab');
    const name = titleOf(section);
    this.title.label = name;
    this.title.caption = trans.__('Fanlight: %1', name);
    this.title.icon = fanlightIcon;
    this.title.closable = true;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this.title.caption);
    this.node.tabIndex = -1;
  }

  protected override render(): JSX.Element {
    const visible = this.isVisible;
    return this.section === EVERYTHING ? (
      <Panel model={this.model} visible={visible} wide />
    ) : (
      <Page model={this.model} section={this.section} visible={visible} />
    );
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    if (!this.node.contains(document.activeElement)) {
      this.node.focus({ preventScroll: true });
    }
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.look();
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.look();
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.look();
  }

  protected override onBeforeDetach(message: Message): void {
    this.presence.set(this.id, false);
    super.onBeforeDetach(message);
  }

  private look(): void {
    this.presence.set(this.id, this.isVisible);
    this.update();
  }
}

const LEAST = 160; // pixels: what is lower than that shows nothing

/** Notebook 7's lower area shows its first tab, and without any height: two fifths are a start. */
function makeRoom(tab: Widget): void {
  const tabs = tab.parent?.parent;
  if (tabs instanceof TabPanel) {
    tabs.currentWidget = tab;
  }
  let part: Widget = tab;
  while (part.parent && !(part.parent instanceof SplitPanel)) {
    part = part.parent;
  }
  const split = part.parent;
  if (
    split instanceof SplitPanel &&
    split.orientation === 'vertical' &&
    part.node.offsetHeight < LEAST
  ) {
    split.setRelativeSizes(split.widgets.map(widget => (widget === part ? 2 : 3)));
  }
}

export function titleOf(section: string): string {
  const spec = SECTIONS.find(s => s.id === section);
  return section === EVERYTHING ? trans.__('Dashboard') : (spec?.title() ?? section);
}

export function isSection(id: unknown): id is string {
  return id === EVERYTHING || SECTIONS.some(s => s.id === id);
}

export class SectionTabs {
  private readonly tracker = new WidgetTracker<SectionTab>({ namespace: 'fanlight-sections' });

  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly labShell: ILabShell | null,
    private readonly model: PanelModel,
    private readonly presence: Presence
  ) {}

  /** Shows the section's tab, a new one if there is none. */
  open(section: string): SectionTab {
    const tab = this.get(section);
    this.app.shell.activateById(tab.id);
    if (!this.labShell) {
      requestAnimationFrame(() => makeRoom(tab)); // once it has been laid out
    }
    return tab;
  }

  /** What was open when the page was left is opened again, where it was. */
  restore(restorer: ILayoutRestorer, command: string): void {
    void restorer.restore(this.tracker, {
      command,
      args: tab => ({ section: tab.section }),
      name: tab => tab.section
    });
  }

  /** A section's head is held by the pointer: when it moves far enough, it drags a tab. */
  readonly drag = (section: string, down: { clientX: number; clientY: number }): void => {
    if (!this.labShell) {
      return; // nothing to drop it on
    }
    const move = (event: PointerEvent): void => {
      const far = Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY);
      if (far > FAR) {
        stop();
        void this.startDrag(section, event);
      }
    };
    const stop = (): void => {
      document.removeEventListener('pointermove', move, true);
      document.removeEventListener('pointerup', stop, true);
      document.removeEventListener('pointercancel', stop, true);
    };
    document.addEventListener('pointermove', move, true);
    document.addEventListener('pointerup', stop, true);
    document.addEventListener('pointercancel', stop, true);
  };

  private get(section: string): SectionTab {
    const open = this.tracker.find(tab => tab.section === section);
    if (open) {
      return open;
    }
    const tab = new SectionTab(section, this.model, this.presence);
    this.app.shell.add(tab, this.labShell ? 'main' : 'down', { type: 'Fanlight' });
    void this.tracker.add(tab);
    return tab;
  }

  private async startDrag(section: string, at: PointerEvent): Promise<void> {
    const { Drag } = await import('@lumino/dragdrop');
    const image = document.createElement('div');
    image.className = 'fl-DragImage';
    image.textContent = titleOf(section);
    const mimeData = new MimeData();
    // In the shell first, so that JupyterLab knows the tab; the dock panel then moves it.
    mimeData.setData(FACTORY, (): Widget => this.get(section));
    const drag = new Drag({
      mimeData,
      dragImage: image,
      proposedAction: 'move',
      supportedActions: 'move',
      source: this
    });
    await drag.start(at.clientX, at.clientY);
  }
}
