/**
 * The panel without JupyterLab, as one script: defines `FanlightStandalone`. What uses it: the widget
 * of `fanlight.panel()`, pages exported from recordings, and tests in a bare browser.
 */
import { loadChartsByText, takeChartsFrom } from './charts';
import { Session } from '../model/session';
import { drawReplay, showReplay } from '../replay/page';
import { drawsPages, open } from './page';
import { show } from './show';
import { widget } from './widget';

loadChartsByText();
drawsPages('replay', drawReplay);

const FanlightStandalone = {
  show,
  showReplay,
  open,
  drawsPages,
  takeChartsFrom,
  Session,
  widget
};

export type Standalone = typeof FanlightStandalone;

Object.assign(globalThis, { FanlightStandalone });
