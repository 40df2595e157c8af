/**
 * Pictures in notebooks: outputs that hold a Bokeh document, and no code. What draws them, and with
 * it BokehJS, is loaded when the first one is shown. A renderer for MIME types needs no plugin, so
 * JupyterLab and Notebook have it before they open a notebook.
 */
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';
import type { Drawn } from './picture';

export const MIME = 'application/vnd.fanlight.picture+json';
const THEME = ['data-jp-theme-name', 'data-jp-theme-light'];

class Picture extends Widget implements IRenderMime.IRenderer {
  private drawn: Drawn | null = null;
  private latest = 0;
  private readonly themes = new MutationObserver(() => this.drawn?.recolour());

  constructor() {
    super();
    this.addClass('fl-Picture');
    this.themes.observe(document.body, { attributes: true, attributeFilter: THEME });
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const turn = ++this.latest;
    const data = model.data[MIME] as ReadonlyPartialJSONObject;
    if (typeof data.height === 'number') {
      this.node.style.minHeight = `${data.height}px`; // so that what is below does not jump
    }
    this.node.setAttribute('role', 'figure');
    this.node.setAttribute('aria-label', String(model.data['text/plain'] ?? 'Picture'));
    try {
      const { draw } = await import('./picture');
      if (turn !== this.latest || this.isDisposed) {
        return;
      }
      this.clear();
      const drawn = await draw(this.node, JSON.parse(String(data.document)));
      if (turn === this.latest && !this.isDisposed) {
        this.drawn = drawn;
      } else {
        drawn.dispose();
      }
    } catch (error) {
      // Of another version of Bokeh, perhaps: the text says the same.
      console.warn('Fanlight: a picture could not be drawn', error);
      const text = document.createElement('pre');
      text.textContent = String(model.data['text/plain'] ?? 'This picture could not be drawn.');
      this.node.replaceChildren(text);
    }
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.drawn?.recolour();
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.themes.disconnect();
      this.clear();
    }
    super.dispose();
  }

  private clear(): void {
    this.drawn?.dispose();
    this.drawn = null;
    this.node.replaceChildren();
  }
}

const extension: IRenderMime.IExtension = {
  id: 'fanlight-lab:picture',
  description: 'Draws the timelines and task graphs of Fanlight.',
  rendererFactory: {
    safe: false, // untrusted notebooks show the HTML that lies beside it
    mimeTypes: [MIME],
    createRenderer: () => new Picture()
  },
  rank: 0,
  dataType: 'json'
};

export default extension;
