/**
 * Shows a cell, and a line of it, in its notebook: finds the notebook (or opens it, when its kernel
 * runs without a tab), unfolds, scrolls, flashes, and puts the keyboard there.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import {
  NotebookActions,
  type INotebookTracker,
  type NotebookPanel
} from '@jupyterlab/notebook';
import { trans } from '../i18n';
import { findCell, findCode, titleLine, type NotebookLike } from './cells';

const FLASH = 'fl-Flash';
const FLASH_SECONDS = 1.6; // as long as the animation in home.css
const OPEN_SECONDS = 20; // that a notebook may take to open

export class CellFinder {
  constructor(
    private readonly app: JupyterFrontEnd,
    private readonly notebooks: INotebookTracker
  ) {}

  /** Never rejects: where the cell cannot be found, a notification says so. */
  async show(
    origin: string,
    line: number | undefined,
    kernels: readonly string[]
  ): Promise<void> {
    try {
      const found = this.find(origin, kernels) ?? (await this.open(origin, kernels));
      if (found) {
        await this.reveal(found.panel, found.cell, line);
        return;
      }
    } catch (error) {
      console.warn('Fanlight: the cell could not be shown', error);
    }
    const text = trans.__(
      'This cell is in no notebook that is open here. It was deleted, or ran in another program.'
    );
    Notification.warning(text, { autoClose: 6000 });
  }

  /** "[5] first line of the cell"; null if no open notebook has it. Cheap enough to draw with. */
  title(origin: string, kernels: readonly string[]): string | null {
    const found = this.find(origin, kernels);
    const cell = found?.panel.content.model?.cells.get(found.cell);
    if (!cell) {
      return null;
    }
    return `[${countOf(cell) ?? ' '}] ${titleLine(cell.sharedModel.getSource())}`;
  }

  /** Shows the cell whose line (from 1) is this code, as tracebacks name it; false: there is none. */
  showCode(code: string, line: number, kernels: readonly string[]): boolean {
    const panels = this.panels();
    const sources = panels.map(panel => ({
      kernelId: kernelOf(panel),
      cells: cellsOf(panel).map(cell => ({
        count: countOf(cell),
        source: cell.sharedModel.getSource()
      }))
    }));
    const found = findCode(sources, code, line, kernels);
    if (found) {
      void this.reveal(panels[found.notebook]!, found.cell, line);
    }
    return found !== null;
  }

  private panels(): NotebookPanel[] {
    const panels: NotebookPanel[] = [];
    this.notebooks.forEach(panel => panels.push(panel));
    return panels;
  }

  private find(origin: string, kernels: readonly string[]) {
    const panels = this.panels();
    const found = findCell(panels.map(facts), origin, kernels);
    return found && { panel: panels[found.notebook]!, cell: found.cell };
  }

  /** Opens the notebooks of the runtime's kernels that have no tab, one by one. */
  private async open(origin: string, kernels: readonly string[]) {
    const { sessions } = this.app.serviceManager;
    const { commands } = this.app;
    if (!commands.hasCommand('docmanager:open')) {
      return null;
    }
    for (const session of sessions.running()) {
      const { kernel, path, type } = session;
      if (type !== 'notebook' || !kernel || !kernels.includes(kernel.id) || this.shows(path)) {
        continue;
      }
      const opened = (await commands.execute('docmanager:open', { path })) as
        NotebookPanel | undefined;
      if (opened?.context) {
        await within(opened.context.ready, OPEN_SECONDS);
        const found = this.find(origin, kernels);
        if (found) {
          return found;
        }
      }
    }
    return null;
  }

  private shows(path: string): boolean {
    return this.notebooks.find(panel => panel.context.path === path) !== undefined;
  }

  private async reveal(panel: NotebookPanel, index: number, line?: number): Promise<void> {
    const { content } = panel;
    this.app.shell.activateById(panel.id);
    const cell = content.widgets[index];
    if (!cell) {
      return;
    }
    NotebookActions.expandParent(cell, content);
    cell.inputHidden = false;
    content.deselectAll();
    content.activeCellIndex = index;
    content.mode = 'command';
    await content.scrollToItem(index, 'center');
    await cell.ready;
    const editor = cell.editor;
    if (line !== undefined && editor) {
      const at = Math.min(Math.max(0, line - 1), editor.lineCount - 1);
      const end = editor.getLine(at)?.length ?? 0;
      editor.setSelection({ start: { line: at, column: 0 }, end: { line: at, column: end } });
      editor.revealPosition({ line: at, column: 0 });
    }
    content.activate();
    flash(cell.node);
  }
}

function kernelOf(panel: NotebookPanel): string {
  return panel.sessionContext.session?.kernel?.id ?? '';
}

function cellsOf(panel: NotebookPanel) {
  return [...(panel.content.model?.cells ?? [])];
}

function countOf(cell: object): number | null {
  return (cell as { executionCount?: number | null }).executionCount ?? null;
}

function facts(panel: NotebookPanel): NotebookLike {
  return {
    kernelId: kernelOf(panel),
    cells: cellsOf(panel).map(cell => ({ id: cell.id, count: countOf(cell) }))
  };
}

function flash(node: HTMLElement): void {
  node.classList.remove(FLASH);
  void node.offsetWidth; // so that a second flash starts anew
  node.classList.add(FLASH);
  setTimeout(() => node.classList.remove(FLASH), FLASH_SECONDS * 1000);
}

function within<T>(promise: Promise<T>, seconds: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it took too long')), seconds * 1000);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
