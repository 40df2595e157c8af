/**
 * Colours where there is no JupyterLab: a page that opens by itself, or another notebook program.
 * There the panel takes light or dark from the program or the system, and its own palette
 * (standalone.css); in JupyterLab and Notebook it does nothing but tell of changes.
 */

const SCHEME = '(prefers-color-scheme: dark)';
const WATCHED = [
  'class',
  'data-jp-theme-name',
  'data-jp-theme-light',
  'data-vscode-theme-kind'
];

/** What a page says of its theme. */
export interface Page {
  /** Classes of the body. */
  classes: string;
  /** What is behind the panel, as `rgb(…)`; "" or transparent when nobody says. */
  background: string;
  /** The system prefers dark. */
  prefersDark: boolean;
}

/** Whether the panel has to be dark on this page. */
export function isDark({ classes, background, prefersDark }: Page): boolean {
  // In its light theme of high contrast, VS Code names both.
  if (/\bvscode-(light|high-contrast-light)\b/.test(classes)) {
    return false;
  }
  if (/\bvscode-(dark|high-contrast)\b/.test(classes)) {
    return true;
  }
  const [r, g, b, a] = (background.match(/[\d.]+/g) ?? []).map(Number);
  if (b !== undefined && a !== 0) {
    return 0.299 * r + 0.587 * g + 0.114 * b < 128; // as bright as it looks
  }
  return prefersDark;
}

/** Keeps the host's colours right until the function that it returns is called. */
export function followTheme(host: HTMLElement, changed: () => void): () => void {
  const { body } = document;
  const scheme = window.matchMedia(SCHEME);
  // Asked once: afterwards our own palette would answer.
  const plain = getComputedStyle(body).getPropertyValue('--jp-layout-color1').trim() === '';
  host.classList.toggle('fl-Plain', plain);
  const look = (): void => {
    if (plain) {
      const dark = isDark({
        classes: body.className,
        background: body.classList.contains('fl-Page')
          ? ''
          : getComputedStyle(body).backgroundColor,
        prefersDark: scheme.matches
      });
      const light = String(!dark);
      if (body.dataset.jpThemeLight !== light) {
        body.dataset.jpThemeLight = light; // the style sheets ask for it, as in JupyterLab
      }
    }
    changed();
  };
  const observer = new MutationObserver(look);
  observer.observe(body, { attributes: true, attributeFilter: WATCHED });
  scheme.addEventListener('change', look);
  look();
  return () => {
    observer.disconnect();
    scheme.removeEventListener('change', look);
  };
}
