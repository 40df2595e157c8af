/**
 * The one WebSocket to the Jupyter server: connects, says what is followed, reconnects with back-off.
 *
 * Knows nothing of JupyterLab: the socket is made by a function, so tests give it one of their own.
 */
import { trans } from './i18n';
import type { Cause, Link } from './model/state';
import type { Message } from './model/reducer';
import type { Command, Query } from './model/queries';

/** What is followed: the runtime of a kernel, one runtime, or nothing. */
export type Target = { kernel_id?: string; runtime_id?: string };

/** What the server says to one question or command. */
interface Answer {
  type: 'answer';
  id: number;
  data?: unknown;
  error?: string;
}

interface Asked {
  resolve: (data: unknown) => void;
  reject: (error: Error) => void;
}

/** The part of a WebSocket that is used here. */
export interface SocketLike {
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: { data: unknown }) => unknown) | null;
  onclose: ((event: { code: number; reason: string }) => unknown) | null;
  send(data: string): void;
  close(): void;
}

export interface TransportOptions {
  connect: () => SocketLike;
  onMessage: (message: Message) => void;
  onLink: (link: Link) => void;
  /** Asked after a connection failed: why; null when that is not known. */
  diagnose?: () => Promise<Cause | null>;
  random?: () => number;
}

export const FIRST_DELAY = 0.5; // seconds
export const LONGEST_DELAY = 20;
/** The server's code for a message that it does not understand: another version, most likely. */
export const REFUSED = 1008;
const PATIENT = 5; // attempts after which the delay is long

/** Seconds before attempt `n` (0 is the first repetition); jitter spreads many browsers. */
export function backoff(n: number, random: () => number): number {
  const full = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** Math.min(n, 16));
  return full * (0.75 + random() * 0.25);
}

export class Transport {
  private readonly options: TransportOptions;
  private readonly random: () => number;
  private socket: SocketLike | null = null;
  private open = false;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private attempts = 0;
  private target: Target = {};
  private paused = true;
  private disposed = false;
  private asked = new Map<number, Asked>();
  private lastId = 0;

  constructor(options: TransportOptions) {
    this.options = options;
    this.random = options.random ?? Math.random;
  }

  /** Follow something else; takes effect now, or when the connection is there. */
  follow(target: Target): void {
    if (JSON.stringify(target) === JSON.stringify(this.target)) {
      return;
    }
    this.target = target;
    this.say({ type: 'follow', ...target });
  }

  /** Nobody looks: the server detaches, and a lost connection is not made again. */
  pause(): void {
    if (!this.paused) {
      this.paused = true;
      this.cancelRetry();
      this.say({ type: 'pause' });
    }
  }

  /** Somebody looks: connect, or go on. */
  resume(): void {
    if (this.disposed || !this.paused) {
      return;
    }
    this.paused = false;
    if (this.socket === null) {
      this.connect();
    } else {
      this.say({ type: 'resume' });
    }
  }

  /** Attach anew, which gives a new snapshot; used after a gap in the events. */
  resync(): void {
    this.say({ type: 'pause' });
    this.say({ type: 'resume' });
  }

  /** Do not wait for the next attempt. */
  retryNow(): void {
    if (this.socket === null && !this.paused) {
      this.cancelRetry();
      this.connect();
    }
  }

  /** The answer of the followed runtime. Rejects when it says no, or the connection is lost. */
  ask(query: Query): Promise<unknown> {
    return this.request({ type: 'ask', query });
  }

  /** What came of it, when the runtime has been told. */
  tell(command: Command): Promise<unknown> {
    return this.request({ type: 'do', command });
  }

  dispose(): void {
    this.disposed = true;
    this.paused = true;
    this.cancelRetry();
    this.drop();
  }

  private connect(): void {
    if (this.disposed) {
      return;
    }
    this.options.onLink({ state: 'connecting' });
    let socket: SocketLike;
    try {
      socket = this.options.connect();
    } catch (error) {
      this.retry(String(error));
      return;
    }
    this.socket = socket;
    socket.onopen = () => {
      this.open = true;
      this.attempts = 0;
      this.options.onLink({ state: 'open' });
      this.say({ type: 'follow', ...this.target });
      if (this.paused) {
        this.say({ type: 'pause' });
      }
    };
    socket.onmessage = ({ data }) => {
      if (this.socket === socket && typeof data === 'string') {
        this.take(JSON.parse(data) as Message | Answer);
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (this.socket === socket) {
        this.drop();
        if (code === REFUSED) {
          this.attempts = Math.max(this.attempts, PATIENT); // the next will hardly go better
          this.retry('', 'version');
        } else {
          this.retry(reason);
        }
      }
    };
  }

  private take(message: Message | Answer): void {
    if (message.type !== 'answer') {
      this.options.onMessage(message);
      return;
    }
    const asked = this.asked.get(message.id);
    this.asked.delete(message.id);
    if (message.error !== undefined) {
      asked?.reject(new Error(message.error));
    } else {
      asked?.resolve(message.data);
    }
  }

  private request(message: object): Promise<unknown> {
    if (!this.open) {
      return Promise.reject(
        new Error(trans.__('There is no connection to the Jupyter server.'))
      );
    }
    this.lastId += 1;
    const id = this.lastId;
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
      this.say({ ...message, id });
    });
  }

  private retry(reason: string, cause?: Cause): void {
    if (this.disposed) {
      return;
    }
    if (this.paused) {
      this.options.onLink({ state: 'idle' });
      return;
    }
    const seconds = backoff(this.attempts, this.random);
    this.attempts += 1;
    this.options.onLink({ state: 'waiting', seconds, reason, cause });
    this.timer = setTimeout(() => {
      this.timer = null;
      this.connect();
    }, seconds * 1000);
    if (!reason && !cause && this.options.diagnose) {
      void this.options.diagnose().then(found => {
        if (found && this.timer !== null) {
          this.options.onLink({ state: 'waiting', seconds, reason, cause: found });
        }
      });
    }
  }

  private cancelRetry(): void {
    if (this.timer !== null) {
      clearTimeout(this.timer);
      this.timer = null;
    }
  }

  private drop(): void {
    const socket = this.socket;
    this.socket = null;
    this.open = false;
    const lost = new Error(trans.__('The connection to the Jupyter server was lost.'));
    const asked = [...this.asked.values()];
    this.asked.clear();
    asked.forEach(({ reject }) => reject(lost));
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  private say(message: object): void {
    if (this.open && this.socket) {
      this.socket.send(JSON.stringify(message));
    }
  }
}
