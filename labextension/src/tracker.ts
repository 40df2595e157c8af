/**
 * Which kernel the user works with: that of the notebook or console in front. While something
 * without a kernel is in front (a file, a terminal) it stays the last one.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ISessionContext } from '@jupyterlab/apputils';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { Signal, type ISignal } from '@lumino/signaling';
import type { Widget } from '@lumino/widgets';

export interface Focus {
  /** "" without a kernel. */
  kernelId: string;
  /** What the document is called, "" without one. */
  title: string;
}

export class KernelFocus {
  private widget: Widget | null = null;
  private context: ISessionContext | null = null;
  private focus: Focus = { kernelId: '', title: '' };
  private readonly _changed = new Signal<this, Focus>(this);

  constructor(shell: JupyterFrontEnd.IShell, notebooks: INotebookTracker | null) {
    // Notebook 7's shell tells nothing for its one document: the tracker does.
    shell.currentChanged?.connect((_, args) => this.look(args.newValue));
    notebooks?.currentChanged.connect((_, panel) => this.look(panel));
    this.look(shell.currentWidget);
    if (notebooks && this.context === null) {
      this.look(notebooks.currentWidget);
    }
  }

  get current(): Focus {
    return this.focus;
  }

  /** The connection to that kernel, to run something on request; null without one. */
  get kernel(): Kernel.IKernelConnection | null {
    return this.context?.session?.kernel ?? null;
  }

  get changed(): ISignal<this, Focus> {
    return this._changed;
  }

  private look(widget: Widget | null): void {
    const context = sessionContextOf(widget);
    if (widget === null || context === null || widget === this.widget) {
      return;
    }
    this.leave();
    this.widget = widget;
    this.context = context;
    widget.disposed.connect(this.closed, this);
    context.kernelChanged.connect(this.update, this);
    context.statusChanged.connect(this.update, this);
    context.propertyChanged.connect(this.update, this);
    this.update();
  }

  private leave(): void {
    this.widget?.disposed.disconnect(this.closed, this);
    this.context?.kernelChanged.disconnect(this.update, this);
    this.context?.statusChanged.disconnect(this.update, this);
    this.context?.propertyChanged.disconnect(this.update, this);
    this.widget = this.context = null;
  }

  private closed(): void {
    this.leave();
    this.set({ kernelId: '', title: '' });
  }

  private update(): void {
    const context = this.context;
    if (context === null || context.isDisposed) {
      return;
    }
    const kernel = context.session?.kernel ?? null;
    if (kernel === null && context.isRestarting) {
      return; // it comes back with the id that it had
    }
    this.set({ kernelId: kernel?.id ?? '', title: context.name });
  }

  private set(focus: Focus): void {
    if (focus.kernelId !== this.focus.kernelId || focus.title !== this.focus.title) {
      this.focus = focus;
      this._changed.emit(focus);
    }
  }
}

/** Notebooks and consoles both have one; asked by shape, so that neither package is needed. */
function sessionContextOf(widget: Widget | null): ISessionContext | null {
  const context = (widget as { sessionContext?: ISessionContext } | null)?.sessionContext;
  return context && typeof context === 'object' && 'kernelChanged' in context ? context : null;
}
