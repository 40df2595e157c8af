/** A recording in any element: what exported pages, the widget and JupyterLab's document show. */
import { trans } from '../i18n';
import { show, type Shown, type ShowOptions } from '../standalone/show';
import type { Held } from '../standalone/page';
import { PlayerBar } from './bar';
import { RecordingFile } from './file';
import { ReplaySource } from './source';

export interface ReplayOptions extends ShowOptions {
  /** Writes the page that plays this recording; without it there is no button. */
  onExport?: () => void;
}

export interface ReplayShown {
  readonly source: ReplaySource;
  dispose(): void;
}

/** Opens a recording and shows its end. What cannot be opened says why, and rejects. */
export async function showReplay(
  host: HTMLElement,
  bytes: Uint8Array,
  name: string,
  options: ReplayOptions = {}
): Promise<ReplayShown> {
  let source: ReplaySource | null = null;
  let shown: Shown | null = null;
  try {
    source = new ReplaySource(new RecordingFile(bytes, name), {
      schedule: run => window.requestAnimationFrame(run),
      frames: {
        request: run => window.requestAnimationFrame(run),
        cancel: handle => window.cancelAnimationFrame(handle)
      }
    });
    await source.open();
  } catch (error) {
    source?.dispose();
    showProblem(host, error);
    throw error;
  }
  const opened = source;
  const title = options.title || (await opened.title());
  host.classList.add('fl-Replay');
  shown = show(host, opened, {
    ...options,
    wide: true,
    head: <PlayerBar source={opened} title={title} onExport={options.onExport} />
  });
  return {
    source: opened,
    dispose: () => {
      shown.dispose();
      opened.dispose();
      host.classList.remove('fl-Replay');
    }
  };
}

/** A sentence in the place of what cannot be shown. */
export function showProblem(host: HTMLElement, error: unknown): void {
  const box = document.createElement('div');
  box.className = 'fl-Replay-problem';
  box.setAttribute('role', 'alert');
  const head = document.createElement('h2');
  head.textContent = trans.__('This recording cannot be played');
  const text = document.createElement('p');
  text.textContent = error instanceof Error ? error.message : String(error);
  box.append(head, text);
  host.replaceChildren(box);
}

/** Draws a page that was exported from a recording. */
export function drawReplay(host: HTMLElement, { data, blob }: Held): void {
  const { name } = (data ?? {}) as { name?: string };
  void showReplay(host, blob, name ?? 'recording').catch(() => undefined);
}
