/** The JupyterLab plugin. Only `ISettingRegistry` and friends if they are there: Notebook 7 works. */
import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, IThemeManager } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { Session } from './model/session';
import { Rest } from './rest';
import { StatusItem } from './statusbar';
import { keepStandIns } from './standin';
import { KernelFocus } from './tracker';
import { PanelModel } from './views/model';
import { FanlightPanel } from './panel';
import { fanlightIcon } from './icons';

const ID = 'fanlight-lab:panel';
const SHOW = 'fanlight:show-panel';
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
    IStatusBar
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
    statusBar: IStatusBar | null
  ) => {
    const rest = new Rest(app.serviceManager.serverSettings);
    const session = new Session({
      connect: () => rest.socket(),
      diagnose: () => rest.diagnose(),
      schedule: run => window.requestAnimationFrame(run)
    });
    const model = new PanelModel({
      source: session,
      pin: id => session.pin(id),
      goToCell: null,
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

    const panel = new FanlightPanel(model);
    app.shell.add(panel, 'right', { rank: 900, type: 'Fanlight' });
    restorer?.add(panel, panel.id);

    void app.started.then(() => {
      const focus = new KernelFocus(app.shell, notebooks);
      const follow = (): void => {
        session.setKernel(focus.current.kernelId);
        model.update({ focusTitle: focus.current.title });
      };
      focus.changed.connect(follow);
      follow();
    });

    const recolour = (): void => model.update({ theme: `${themes?.theme}${Date.now()}` });
    themes?.themeChanged.connect(recolour);

    const show = (): void => {
      app.shell.activateById(panel.id);
    };
    app.commands.addCommand(SHOW, {
      label: 'Fanlight: Show Panel',
      caption: 'Show what runs, live',
      icon: fanlightIcon,
      execute: show,
      describedBy: { args: { type: 'object', properties: {} } }
    });
    palette?.addItem({ command: SHOW, category: 'Fanlight' });

    // The page in the background is as good as hidden.
    const page = (): void => session.watch('panel', model.get().visible && !document.hidden);
    document.addEventListener('visibilitychange', page);

    let statusItem: StatusItem | null = null;
    const liveStatus = (live: boolean): void => {
      session.watch('status', live && statusItem !== null);
      statusAlways = live;
      refreshStatus();
    };
    let statusAlways = false;
    const refreshStatus = (): void => statusItem?.setLive(statusAlways || model.get().visible);
    if (statusBar) {
      statusItem = new StatusItem(session, show);
      statusBar.registerStatusItem(ID, {
        align: 'left',
        item: statusItem,
        rank: 200,
        isActive: () => true
      });
      model.subscribe(refreshStatus);
      refreshStatus();
    }

    void settings?.load(ID).then(loaded => {
      const apply = (): void => liveStatus(loaded.get('liveStatusBar').composite === true);
      loaded.changed.connect(apply);
      apply();
      if (loaded.get('openOnStart').composite === true && labShell) {
        void app.restored.then(show);
      }
    });
  }
};

export default plugin;
