/**
 * Monitors and live reprs that nobody updates any more: their kernel is gone, or the notebook was
 * saved while they were live and is opened without it. ipywidgets would say "model not found"; the
 * output's own HTML, which says as of when it is, takes the widget's place.
 */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';

const VIEW = 'application/vnd.jupyter.widget-view+json';
const GONE = ['dead', 'terminating', 'restarting', 'autorestarting'];

interface Output {
  metadata?: { fanlight?: { kernel?: string } };
  data?: Record<string, unknown>;
}

/** The output without its widget, or null if it is none of ours, or lives in this kernel. */
export function standIn<T extends Output>(output: T, kernelId: string): T | null {
  const mark = output.metadata?.fanlight;
  const { [VIEW]: view, ...rest } = output.data ?? {};
  if (!mark || view === undefined || (kernelId !== '' && mark.kernel === kernelId)) {
    return null;
  }
  return { ...output, data: rest };
}

/** `kernelId`: of the kernel whose widgets live; "" for none. */
function replace(panel: NotebookPanel, kernelId: string): void {
  const cells = panel.content.model?.cells ?? [];
  for (const cell of cells) {
    const outputs = 'outputs' in cell ? (cell.outputs as Outputs) : null;
    for (let index = 0; index < (outputs?.length ?? 0); index++) {
      const found = standIn(outputs!.get(index).toJSON(), kernelId);
      if (found !== null) {
        outputs!.set(index, found);
      }
    }
  }
}

interface Outputs {
  readonly length: number;
  get(index: number): { toJSON(): Output };
  set(index: number, output: Output): void;
}

function watch(panel: NotebookPanel): void {
  const { sessionContext: context } = panel;
  const look = (): void => replace(panel, context.session?.kernel?.id ?? '');
  void Promise.all([panel.context.ready, context.ready])
    .then(() => {
      if (panel.isDisposed) {
        return;
      }
      look();
      context.kernelChanged.connect((_, { newValue }) => {
        if (newValue !== null) {
          look();
        }
      });
      context.statusChanged.connect((_, status) => {
        if (GONE.includes(status)) {
          replace(panel, '');
        }
      });
    })
    .catch(() => undefined); // it was closed, or has no kernel to be had
}

export function keepStandIns(notebooks: INotebookTracker): void {
  notebooks.forEach(watch);
  notebooks.widgetAdded.connect((_, panel) => watch(panel));
}
