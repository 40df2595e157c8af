/** The panel: a header, sections that fold, and a drawer for what was clicked. */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import { Panel } from './views/panel';
import type { PanelModel } from './views/model';
import { fanlightIcon } from './icons';

export class FanlightPanel extends ReactWidget {
  constructor(private readonly model: PanelModel) {
    super();
    this.id = 'fanlight-panel';
    this.addClass('fl-Panel');
    this.title.icon = fanlightIcon;
    this.title.caption = 'Fanlight: what runs, live';
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Fanlight');
  }

  protected override render(): JSX.Element {
    return <Panel model={this.model} />;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.model.setVisible(true);
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.model.setVisible(this.isVisible);
  }

  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.model.setVisible(false);
  }

  protected override onBeforeDetach(message: Message): void {
    this.model.setVisible(false);
    super.onBeforeDetach(message);
  }
}
