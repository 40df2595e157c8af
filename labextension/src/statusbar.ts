/** "2/2 CPU · 14 running · store 31 %" in the status bar; a click shows the panel. */
import { Widget } from '@lumino/widgets';
import type { Session } from './model/session';
import { trans } from './i18n';
import { statusText } from './model/selectors';

export class StatusItem extends Widget {
  private readonly button = document.createElement('button');
  private readonly unsubscribe: () => void;

  constructor(session: Session, show: () => void) {
    super();
    this.addClass('fl-Status');
    this.button.type = 'button';
    this.button.title = trans.__('Show the Fanlight panel');
    this.button.addEventListener('click', show);
    this.node.append(this.button);
    const update = (): void => {
      const text = statusText(session.store.get());
      if (this.button.textContent !== text) {
        this.button.textContent = text;
      }
    };
    this.unsubscribe = session.store.subscribe(update);
    update();
  }

  /** Without live figures (nobody looks) it only names itself. */
  setLive(live: boolean): void {
    this.button.classList.toggle('fl-Status-off', !live);
    if (!live) {
      this.button.textContent = 'Fanlight';
    }
  }

  override dispose(): void {
    this.unsubscribe();
    super.dispose();
  }
}
