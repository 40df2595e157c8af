/** The JupyterLab plugin. Only `ISettingRegistry` and friends if they are there: Notebook 7 works. */
import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, IThemeManager, Notification } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator } from '@jupyterlab/translation';
import { addCommands, COMMANDS } from './home/commands';
import { addCell } from './home/addcell';
import { CellFinder } from './home/gotocell';
import { Presence } from './home/presence';
import { DEFAULTS, follow as followSettings } from './home/settings';
import { AGAIN, startRuntime } from './home/start';
import { SectionTabs } from './home/tabs';
import { setBundle } from './i18n';
import { Session } from './model/session';
import { addRecordings, recorderOf } from './replay/document';
import { Rest } from './rest';
import { StatusItem } from './statusbar';
import { keepStandIns } from './standin';
import { KernelFocus } from './tracker';
import { PanelModel } from './views/model';
import { FanlightPanel } from './panel';

const ID = 'fanlight-lab:panel';
const DOMAIN = 'fanlight_lab';
const FOLDED = `${ID}:folded`;

const plugin: JupyterFrontEndPlugin<void> = {
  id: ID,
  description: 'Shows the tasks, objects, actors and devices of Fanlight runtimes, live.',
  autoStart: true,
  optional: [
    ILabShell,
    INotebookTracker,
    ILayoutRestorer,
    ICommandPalette,
    IThemeManager,
    ISettingRegistry,
    IStateDB,
    IStatusBar,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    labShell: ILabShell | null,
    notebooks: INotebookTracker | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    themes: IThemeManager | null,
    settings: ISettingRegistry | null,
    states: IStateDB | null,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ) => {
    setBundle(translator?.load(DOMAIN) ?? null);
    const rest = new Rest(app.serviceManager.serverSettings);
    const session = new Session({
      connect: () => rest.socket(),
      diagnose: () => rest.diagnose(),
      schedule: run => window.requestAnimationFrame(run)
    });
    const presence = new Presence((who, visible) => session.watch(who, visible), document);
    const cells = notebooks && new CellFinder(app, notebooks);
    const kernels = (): string[] =>
      session.store.get().data?.runtime.drivers.map(driver => driver.kernel_id) ?? [];
    let focus: KernelFocus | null = null;
    const model: PanelModel = new PanelModel({
      source: session,
      pin: id => session.pin(id),
      goToCell: cells && ((origin, line) => void cells.show(origin, line, kernels())),
      goToCode: cells ? (code, line) => cells.showCode(code, line, kernels()) : undefined,
      cellTitle: origin => cells?.title(origin, kernels()) ?? null,
      addCell: notebooks ? code => addCell(notebooks, code) : undefined,
      recorder: recorderOf(rest),
      startHere: () => startRuntime(focus?.kernel ?? null),
      // The controls are gone by then, with the runtime that was ended.
      restartHere: () =>
        startRuntime(focus?.kernel ?? null, AGAIN).catch((error: unknown) => {
          Notification.error(error instanceof Error ? error.message : String(error));
        }),
      tabs: {
        open: section => void tabs.open(section),
        drag: (section, down) => tabs.drag(section, down)
      },
      loadChart: () => import('./chart'),
      save: folded => void states?.save(FOLDED, [...folded])
    });
    void states?.fetch(FOLDED).then(value => {
      if (Array.isArray(value)) {
        model.update({ folded: value.filter((v): v is string => typeof v === 'string') });
      }
    });

    if (notebooks) {
      keepStandIns(notebooks);
    }

    const tabs = new SectionTabs(app, labShell, model, presence);
    const panel = new FanlightPanel(model, visible => presence.set('panel', visible));
    app.shell.add(panel, 'right', { rank: 900, type: 'Fanlight' });
    restorer?.add(panel, panel.id);

    void app.started.then(() => {
      const found = (focus = new KernelFocus(app.shell, notebooks));
      const follow = (): void => {
        session.setKernel(found.current.kernelId);
        model.update({ focusTitle: found.current.title, focusKernel: found.current.kernelId });
      };
      found.changed.connect(follow);
      follow();
    });

    const recolour = (): void => model.update({ theme: `${themes?.theme}${Date.now()}` });
    themes?.themeChanged.connect(recolour);

    let wanted = DEFAULTS;
    const show = (): void => app.shell.activateById(panel.id);
    let loaded: ISettingRegistry.ISettings | null = null;
    addCommands({
      app,
      model,
      palette,
      show,
      liveStatus: {
        get: () => wanted.liveStatusBar,
        set: live => void loaded?.set('liveStatusBar', live)
      }
    });
    if (restorer) {
      tabs.restore(restorer, COMMANDS.open);
    }
    addRecordings({ app, rest, model, notebooks, restorer, palette });

    const statusItem = statusBar && new StatusItem(session, show);
    const refreshStatus = (): void => statusItem?.setLive(wanted.liveStatusBar || presence.any);
    if (statusBar && statusItem) {
      statusBar.registerStatusItem(ID, {
        align: 'left',
        item: statusItem,
        rank: 200,
        isActive: () => wanted.statusBar
      });
      presence.changed = refreshStatus;
      refreshStatus();
    }

    void followSettings(settings, ID, next => {
      wanted = next;
      presence.set('status', next.liveStatusBar && next.statusBar && statusItem !== null);
      statusItem?.setHidden(!next.statusBar);
      model.update({ hidden: next.hiddenSections });
      refreshStatus();
      app.commands.notifyCommandChanged(COMMANDS.liveStatus);
    }).then(found => {
      loaded = found;
      if (wanted.openOnStart && labShell) {
        void app.restored.then(show);
      }
    });
  }
};

export default plugin;
