/** The commands of the panel. The menu of schema/panel.json, the palette and shortcuts name them. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification, type ICommandPalette } from '@jupyterlab/apputils';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { trans } from '../i18n';
import { fanlightIcon } from '../icons';
import { SECTIONS } from '../sections';
import type { PanelModel } from '../views/model';
import { EVERYTHING, isSection, titleOf } from './tabs';

export const COMMANDS = {
  show: 'fanlight:show-panel',
  open: 'fanlight:open-section',
  cell: 'fanlight:go-to-cell',
  start: 'fanlight:start-runtime',
  liveStatus: 'fanlight:toggle-live-status-bar',
  settings: 'fanlight:open-settings'
} as const;

const SETTINGS_EDITOR = 'settingeditor:open';

export interface CommandOptions {
  app: JupyterFrontEnd;
  model: PanelModel;
  palette: ICommandPalette | null;
  /** Shows the panel and puts the keyboard into it. */
  show: () => void;
  /** The setting that keeps the status bar live; null where there are no settings. */
  liveStatus: { get: () => boolean; set: (live: boolean) => void };
}

export function addCommands(options: CommandOptions): void {
  const { app, model, palette } = options;
  const { commands } = app;
  const nothing = { args: { type: 'object' as const, properties: {} } };

  commands.addCommand(COMMANDS.show, {
    label: () => trans.__('Show Fanlight Panel'),
    caption: () => trans.__('Show what runs, live'),
    icon: fanlightIcon,
    execute: options.show,
    describedBy: nothing
  });

  const section = (args: ReadonlyPartialJSONObject): string =>
    typeof args.section === 'string' ? args.section : EVERYTHING;
  commands.addCommand(COMMANDS.open, {
    label: args =>
      args.isPalette
        ? trans.__('Open as a Tab: %1', titleOf(section(args)))
        : titleOf(section(args)),
    caption: args => trans.__('Open “%1” as a tab', titleOf(section(args))),
    icon: args => (args.isPalette ? fanlightIcon : undefined),
    isVisible: args => isSection(section(args)),
    isEnabled: args => model.tabs !== null && isSection(section(args)),
    execute: args => model.tabs?.open(section(args)),
    describedBy: {
      args: {
        type: 'object',
        properties: {
          section: {
            type: 'string',
            description: `A section, or "${EVERYTHING}"`,
            enum: [EVERYTHING, ...SECTIONS.map(s => s.id)]
          }
        }
      }
    }
  });

  // Not in the palette, since it needs an argument: for other extensions, and for links.
  commands.addCommand(COMMANDS.cell, {
    label: () => trans.__('Go to the Cell'),
    isEnabled: () => model.goToCell !== null,
    execute: args => {
      const { origin, line } = args;
      if (typeof origin === 'string') {
        model.goToCell?.(origin, typeof line === 'number' ? line : undefined);
      }
    },
    describedBy: {
      args: {
        type: 'object',
        properties: {
          origin: { type: 'string', description: 'The id of the cell' },
          line: { type: 'number', description: 'A line of it, from 1' }
        },
        required: ['origin']
      }
    }
  });

  commands.addCommand(COMMANDS.start, {
    label: () => trans.__('Start Fanlight in This Notebook'),
    caption: () => trans.__('Run fanlight.init() in the kernel of the notebook in front'),
    isEnabled: () => model.startHere !== null && model.source.store.get().phase !== 'live',
    execute: async () => {
      options.show();
      await model.startHere?.().catch((error: unknown) => {
        Notification.error(error instanceof Error ? error.message : String(error));
      });
    },
    describedBy: nothing
  });

  commands.addCommand(COMMANDS.liveStatus, {
    label: () => trans.__('Live Status Bar'),
    caption: () => trans.__('Keep the status bar live while the panel is hidden'),
    isToggleable: true,
    isToggled: options.liveStatus.get,
    execute: () => options.liveStatus.set(!options.liveStatus.get()),
    describedBy: nothing
  });

  commands.addCommand(COMMANDS.settings, {
    label: () => trans.__('Fanlight Settings…'),
    isVisible: () => commands.hasCommand(SETTINGS_EDITOR),
    execute: () => commands.execute(SETTINGS_EDITOR, { query: 'Fanlight' }),
    describedBy: nothing
  });

  const category = trans.__('Fanlight');
  for (const command of [COMMANDS.show, COMMANDS.start, COMMANDS.liveStatus]) {
    palette?.addItem({ command, category });
  }
  for (const id of [EVERYTHING, ...SECTIONS.map(s => s.id)]) {
    palette?.addItem({
      command: COMMANDS.open,
      category,
      args: { section: id, isPalette: true }
    });
  }
}
