/** Holds the state and tells listeners, at most once a frame, however fast events come in. */
import { reduce, type Action } from './reducer';
import { INITIAL, type State } from './state';

export type Schedule = (run: () => void) => void;

export class Store {
  private state: State = INITIAL;
  private readonly listeners = new Set<() => void>();
  private scheduled = false;

  constructor(private readonly schedule: Schedule) {}

  /** Stable between changes, as React's useSyncExternalStore wants it. */
  readonly get = (): State => this.state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  dispatch(action: Action): void {
    const next = reduce(this.state, action);
    if (next === this.state) {
      return;
    }
    this.state = next;
    if (!this.scheduled) {
      this.scheduled = true;
      this.schedule(() => {
        this.scheduled = false;
        this.listeners.forEach(listener => listener());
      });
    }
  }
}
