/**
 * Recordings in JupyterLab and Notebook 7: `.fanlight` is a type of document, which a double click
 * plays. Needs no runtime, no kernel and no route of ours.
 */
import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { Notification, WidgetTracker, type ICommandPalette } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import {
  ABCWidgetFactory,
  DocumentModel,
  DocumentWidget,
  TextModelFactory,
  type DocumentRegistry
} from '@jupyterlab/docregistry';
import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Contents } from '@jupyterlab/services';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { Widget } from '@lumino/widgets';
import { trans } from '../i18n';
import { fanlightIcon } from '../icons';
import { base64, unbase64 } from '../model/bytes';
import type { RecordingRow } from '../model/state';
import type { Store } from '../model/store';
import type { Rest } from '../rest';
import type { PanelModel } from '../views/model';
import { showProblem, showReplay, type ReplayShown } from './page';
import { endedSince, endOf, STOPPED, type Recorder } from './record';

const TYPE = 'fanlight-recording';
const FACTORY = 'Fanlight Recording';
const OPEN = 'fanlight:open-recording';
const EXPORT = 'fanlight:export-recording';

type Context = DocumentRegistry.IContext<DocumentRegistry.IModel>;

/** Holds the bytes as they are: a shared text would hold them three times. */
class RecordingModel extends DocumentModel {
  bytes = new Uint8Array(0);

  override fromString(value: string): void {
    this.bytes = unbase64(value);
    this.triggerContentChange();
  }

  /** Whatever asks to save it writes what was read. */
  override toString(): string {
    return base64(this.bytes);
  }
}

class RecordingModelFactory extends TextModelFactory {
  constructor() {
    super(false);
  }

  override get name(): string {
    return TYPE;
  }

  override get fileFormat(): Contents.FileFormat {
    return 'base64';
  }

  override createNew(): DocumentModel {
    const model = new RecordingModel();
    model.readOnly = true;
    return model;
  }
}

/** Shows the recording of a context; again when the file is read again. */
class RecordingView extends Widget {
  private shown: ReplayShown | null = null;
  private turn = 0;

  constructor(
    private readonly context: Context,
    private readonly panel: PanelModel,
    private readonly onExport: (path: string) => void
  ) {
    super();
    this.addClass('fl-Recording');
    void context.ready.then(() => {
      context.model.contentChanged.connect(this.play, this);
      this.play();
    });
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.turn += 1;
      this.clear();
      this.context.model?.contentChanged.disconnect(this.play, this);
    }
    super.dispose();
  }

  private play(): void {
    const turn = ++this.turn;
    this.clear();
    const host = document.createElement('div');
    this.node.replaceChildren(host);
    const model = this.context.model;
    if (!(model instanceof RecordingModel)) {
      showProblem(host, new Error(trans.__('It could not be read.')));
      return;
    }
    const { goToCell, cellTitle, loadChart } = this.panel;
    const name = PathExt.basename(this.context.path);
    const onExport = (): void => this.onExport(this.context.path);
    const options = { goToCell, cellTitle, loadChart, onExport };
    showReplay(host, model.bytes, name, options).then(
      shown => {
        if (turn === this.turn) {
          this.shown = shown;
        } else {
          shown.dispose();
        }
      },
      () => undefined // the host says why
    );
  }

  private clear(): void {
    this.shown?.dispose();
    this.shown = null;
  }
}

class RecordingFactory extends ABCWidgetFactory<DocumentWidget<RecordingView>> {
  constructor(
    private readonly panel: PanelModel,
    private readonly onExport: (path: string) => void
  ) {
    super({
      name: FACTORY,
      label: trans.__('Fanlight Recording'),
      modelName: TYPE,
      fileTypes: [TYPE],
      defaultFor: [TYPE],
      readOnly: true
    });
  }

  protected override createNewWidget(context: Context): DocumentWidget<RecordingView> {
    const content = new RecordingView(context, this.panel, this.onExport);
    const widget = new DocumentWidget({ content, context });
    widget.title.icon = fanlightIcon;
    widget.toolbar.hide();
    return widget;
  }
}

export interface RecordingsOptions {
  app: JupyterFrontEnd;
  rest: Rest;
  model: PanelModel;
  notebooks: INotebookTracker | null;
  restorer: ILayoutRestorer | null;
  palette: ICommandPalette | null;
}

export function addRecordings(options: RecordingsOptions): void {
  const { app, rest, model, notebooks, restorer, palette } = options;
  const { docRegistry, commands } = app;
  docRegistry.addFileType({
    name: TYPE,
    displayName: trans.__('Fanlight Recording'),
    extensions: ['.fanlight'],
    mimeTypes: ['application/x-fanlight-recording'],
    contentType: 'file',
    fileFormat: 'base64',
    icon: fanlightIcon
  });
  docRegistry.addModelFactory(new RecordingModelFactory());
  const factory = new RecordingFactory(
    model,
    file => void commands.execute(EXPORT, { path: file })
  );
  docRegistry.addWidgetFactory(factory);
  const tracker = new WidgetTracker<DocumentWidget<RecordingView>>({
    namespace: 'fanlight-recordings'
  });
  factory.widgetCreated.connect((_, widget) => {
    void tracker.add(widget);
    widget.context.pathChanged.connect(() => void tracker.save(widget));
  });
  void restorer?.restore(tracker, {
    command: 'docmanager:open',
    args: widget => ({ path: widget.context.path, factory: FACTORY }),
    name: widget => widget.context.path
  });

  const path = (args: ReadonlyPartialJSONObject): string => {
    if (typeof args.path === 'string') {
      return args.path;
    }
    const shown = app.shell.currentWidget;
    const open = tracker.find(widget => widget === shown);
    return open?.context.path ?? '';
  };
  commands.addCommand(OPEN, {
    label: trans.__('Open Recording'),
    execute: args => {
      // Beside the notebook in front, where a kernel has no other name for it.
      const beside = notebooks?.currentWidget?.context.path ?? '';
      const found =
        args.beside === true ? PathExt.join(PathExt.dirname(beside), path(args)) : '';
      return commands.execute('docmanager:open', {
        path: found || path(args),
        factory: FACTORY
      });
    },
    describedBy: {
      args: {
        type: 'object',
        properties: {
          path: { type: 'string', description: 'The recording' },
          beside: { type: 'boolean', description: 'The path begins at the notebook in front' }
        }
      }
    }
  });
  const exporting = new Set<string>();
  commands.addCommand(EXPORT, {
    label: trans.__('Export Recording as a Web Page'),
    caption: trans.__('Write one HTML file that plays it in any browser'),
    icon: fanlightIcon,
    isEnabled: args => path(args) !== '',
    execute: async args => {
      const file = path(args);
      if (exporting.has(file)) {
        return; // pressed again while it is written
      }
      exporting.add(file);
      const id = Notification.info(trans.__('Writing the page…'), { autoClose: false });
      try {
        const page = await rest.exportRecording(file);
        Notification.update({
          id,
          message: trans.__('%1 plays the recording in any browser.', page.path),
          type: 'success',
          autoClose: 8000
        });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        Notification.update({ id, message, type: 'error', autoClose: 10_000 });
      } finally {
        exporting.delete(file);
      }
    },
    describedBy: {
      args: { type: 'object', properties: { path: { type: 'string' } } }
    }
  });
  palette?.addItem({ command: EXPORT, category: trans.__('Fanlight') });
  tellEnds(model.source.store, app);
}

/** Recording for the panel's button, by the server. */
export function recorderOf(rest: Rest): Recorder {
  return { begin: runtimeId => rest.record(runtimeId), end: id => rest.endRecording(id) };
}

/** Says of each recording that ends, in whatever way, where the file is; and offers to open it. */
function tellEnds(store: Store, app: JupyterFrontEnd): void {
  let known = store.get().recordings;
  store.subscribe(() => {
    const rows = store.get().recordings;
    if (rows !== known) {
      const ended = endedSince(known, rows);
      known = rows;
      ended.forEach(row => tellEnd(row, app));
    }
  });
}

function tellEnd(row: RecordingRow, app: JupyterFrontEnd): void {
  const { path } = row;
  const actions = [
    {
      label: trans.__('Play'),
      callback: () => void app.commands.execute(OPEN, { path })
    },
    {
      label: trans.__('Export as a page'),
      callback: () => void app.commands.execute(EXPORT, { path })
    }
  ];
  if (row.failed) {
    Notification.error(endOf(row), { autoClose: false, actions });
  } else {
    // Who has not ended it may be elsewhere just now.
    const autoClose = row.reason === STOPPED ? 15_000 : false;
    Notification.success(endOf(row), { autoClose, actions });
  }
}
