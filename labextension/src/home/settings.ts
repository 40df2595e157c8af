/** The settings of schema/panel.json, with their defaults where no settings can be had. */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';

export interface Wishes {
  openOnStart: boolean;
  statusBar: boolean;
  liveStatusBar: boolean;
  hiddenSections: readonly string[];
}

export const DEFAULTS: Wishes = {
  openOnStart: false,
  statusBar: true,
  liveStatusBar: false,
  hiddenSections: []
};

/** What stands in the settings, whatever somebody wrote there by hand. */
export function wishes(composite: (key: string) => unknown): Wishes {
  const flag = (key: 'openOnStart' | 'statusBar' | 'liveStatusBar'): boolean => {
    const value = composite(key);
    return typeof value === 'boolean' ? value : DEFAULTS[key];
  };
  const hidden = composite('hiddenSections');
  return {
    openOnStart: flag('openOnStart'),
    statusBar: flag('statusBar'),
    liveStatusBar: flag('liveStatusBar'),
    hiddenSections: Array.isArray(hidden)
      ? hidden.filter((id): id is string => typeof id === 'string')
      : []
  };
}

/** Calls `apply` now and whenever the user changes something. The loaded settings, or null. */
export async function follow(
  registry: ISettingRegistry | null,
  id: string,
  apply: (wishes: Wishes) => void
): Promise<ISettingRegistry.ISettings | null> {
  const loaded = await registry?.load(id).catch((error: unknown) => {
    console.warn('Fanlight: its settings could not be loaded', error);
    return null;
  });
  if (!loaded) {
    apply(DEFAULTS);
    return null;
  }
  const changed = (): void => apply(wishes(key => loaded.get(key).composite));
  loaded.changed.connect(changed);
  changed();
  return loaded;
}
