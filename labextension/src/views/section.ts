/** What a section of the panel is: the registry `sections/index.ts` lists them. */
import type { ComponentType } from 'react';
import type { Data, State } from '../model/state';
import type { PanelModel } from './model';

/** What was clicked, and is shown in detail. */
export type Selection =
  | { kind: 'group'; id: number }
  | { kind: 'task' | 'actor' | 'worker' | 'object' | 'error'; id: string };

export interface SectionProps {
  model: PanelModel;
  state: State;
  data: Data;
  /** The runtime is there now, so it can be asked and told something. */
  live: boolean;
  /** Drawn with much room: as a tab of its own, or on a page. */
  wide: boolean;
  selection: Selection | null;
  onSelect: (selection: Selection | null) => void;
}

export interface SectionSpec {
  id: string;
  /** A function, since the language is known only when the panel is drawn. */
  title(): string;
  /** What the head says while the section is folded, "" for nothing. */
  summary(data: Data, state: State): string;
  /** The summary deserves attention. */
  bad?(data: Data): boolean;
  Body: ComponentType<SectionProps>;
}
