/**
 * The panel without JupyterLab, as one script: defines `FanlightStandalone`. What uses it: the widget
 * of `fanlight.panel()`, pages exported from recordings, and tests in a bare browser.
 */
import { loadChartsByText, takeChartsFrom } from './charts';
import { Session } from '../model/session';
import { drawsPages, open } from './page';
import { show } from './show';

loadChartsByText();

const FanlightStandalone = { show, open, drawsPages, takeChartsFrom, Session };

export type Standalone = typeof FanlightStandalone;

Object.assign(globalThis, { FanlightStandalone });
