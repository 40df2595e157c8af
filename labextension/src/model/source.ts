/**
 * Where the sections have their data from: a runtime that is watched live, or a recording.
 *
 * Sections draw what stands in `store`, and ask for details while they are on view; they never
 * fetch anything themselves, so each works in every host.
 */
import type { Command, Query } from './queries';
import type { Store } from './store';

export interface Source {
  readonly kind: 'live' | 'replay';
  readonly store: Store;
  /** Whether commands can be given; their buttons are not shown otherwise. */
  readonly controls: boolean;
  /** Rejects with a sentence for people when there is no answer. */
  ask<T>(query: Query): Promise<T>;
  /** Resolves to what came of it: how many tasks were cancelled, for instance. */
  command(command: Command): Promise<unknown>;
  /** Something that shows this source became visible, or was hidden. */
  watch(who: string, visible: boolean): void;
  retryNow(): void;
  dispose(): void;
}
