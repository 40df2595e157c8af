/** The panel: a header, sections that fold, and a drawer for what was clicked. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { trans } from './i18n';
import { Panel } from './views/panel';
import type { PanelModel } from './views/model';
import { fanlightIcon } from './icons';

export class FanlightPanel extends ReactWidget {
  /** `look` is told whenever it comes into view, and when it is hidden. */
  constructor(
    private readonly model: PanelModel,
    private readonly look: (visible: boolean) => void
  ) {
    super();
    this.id = 'fanlight-panel';
    this.addClass('fl-Panel');
    this.title.icon = fanlightIcon;
    this.title.caption = trans.__('Fanlight: what runs, live');
    this.node.tabIndex = -1;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Fanlight');
  }

  protected override render(): JSX.Element {
    return <Panel model={this.model} />;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.see(true);
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.see(this.isVisible);
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.see(false);
  }

  protected override onBeforeDetach(message: Message): void {
    this.see(false);
    super.onBeforeDetach(message);
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    if (!this.node.contains(document.activeElement)) {
      this.node.focus({ preventScroll: true });
    }
  }

  private see(visible: boolean): void {
    this.model.setVisible(visible);
    this.look(visible);
  }
}
