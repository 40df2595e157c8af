/** The sections of the panel, in their order: the one list that every host draws from. */
import type { SectionSpec } from '../views/section';
import { actors } from './actors';
import { errors } from './errors';
import { gpus } from './gpus';
import { graph } from './graph';
import { logs } from './logs';
import { store } from './objectstore';
import { progress } from './progress';
import { running } from './running';
import { timeline } from './timeline';
import { workers } from './workers';

export const SECTIONS: readonly SectionSpec[] = [
  progress,
  graph,
  timeline,
  errors,
  store,
  workers,
  running,
  actors,
  gpus,
  logs
];
