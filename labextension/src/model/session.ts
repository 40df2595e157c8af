/** The live source: ties the transport to the store. Targets, pauses, gaps. No JupyterLab in here. */
import { Transport, type SocketLike, type Target } from '../transport';
import type { Command, Query } from './queries';
import type { Source } from './source';
import type { Cause } from './state';
import { Store, type Schedule } from './store';

export interface SessionOptions {
  connect: () => SocketLike;
  diagnose: () => Promise<Cause | null>;
  schedule: Schedule;
}

export class Session implements Source {
  readonly kind = 'live';
  readonly controls = true;
  readonly store: Store;
  private readonly transport: Transport;
  private focus: string | null = null; // nobody tells: the server's choice
  private pinned = '';
  /** Reasons to be live; nobody looks while there is none. */
  private readonly watchers = new Set<string>();

  constructor(options: SessionOptions) {
    this.store = new Store(options.schedule);
    this.transport = new Transport({
      connect: options.connect,
      diagnose: options.diagnose,
      onLink: link => this.store.dispatch({ type: 'link', link }),
      onMessage: message => {
        this.store.dispatch(message);
        if (message.type === 'delta' && this.store.get().data?.gap) {
          this.transport.resync();
        }
      }
    });
  }

  /** The kernel in front; "" without one. */
  setKernel(id: string): void {
    this.focus = id;
    this.retarget();
  }

  /** Follow one runtime whatever is in front; "" follows the notebook again. */
  pin(runtimeId: string): void {
    this.pinned = runtimeId;
    this.retarget();
  }

  get pinnedTo(): string {
    return this.pinned;
  }

  /** Something became visible, or was hidden. */
  watch(who: string, visible: boolean): void {
    if (visible) {
      this.watchers.add(who);
    } else {
      this.watchers.delete(who);
    }
    if (this.watchers.size) {
      this.transport.resume();
    } else {
      this.transport.pause();
    }
  }

  ask<T>(query: Query): Promise<T> {
    return this.transport.ask(query) as Promise<T>;
  }

  command(command: Command): Promise<unknown> {
    return this.transport.tell(command);
  }

  retryNow(): void {
    this.transport.retryNow();
  }

  dispose(): void {
    this.transport.dispose();
  }

  private retarget(): void {
    const target: Target = this.pinned
      ? { runtime_id: this.pinned }
      : this.focus
        ? { kernel_id: this.focus }
        : {};
    this.store.dispatch({ type: 'target', name: this.pinned || this.focus });
    this.transport.follow(target);
  }
}
