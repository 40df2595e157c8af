/** What the panel needs where there is no JupyterLab. */
import { isDark } from '@fanlight/standalone/theme';

test.each([
  ['VS Code dark', 'vscode-dark', '', false, true],
  ['VS Code light', 'vscode-light', '', true, false],
  ['VS Code high contrast', 'vscode-high-contrast', '', false, true],
  [
    'VS Code high contrast light',
    'vscode-high-contrast-light vscode-high-contrast',
    '',
    true,
    false
  ],
  ['a page that is dark', '', 'rgb(20, 20, 24)', false, true],
  ['a page that is light', '', 'rgb(250, 250, 250)', true, false],
  ['a page that says nothing, dark system', '', 'rgba(0, 0, 0, 0)', true, true],
  ['a page that says nothing, light system', '', '', false, false]
])('%s', (_, classes, background, prefersDark, dark) => {
  expect(isDark({ classes, background, prefersDark })).toBe(dark);
});
