/**
 * The way between the widget of `fanlight.panel()` and its kernel, in the shape of a WebSocket.
 *
 * Two comms. The widget's own only brings messages. What is said goes out on a comm of its own,
 * which JupyterLab puts on a subshell, so that it arrives while a cell runs; programs that let
 * widgets make no comms get it on the widget's. The other end is panel_link.py.
 */
import { trans } from '../i18n';
import type { SocketLike } from '../transport';

/** The part of a widget's model (anywidget's) that is used. */
export interface WidgetModel {
  get(name: string): unknown;
  on(name: 'msg:custom', heard: (content: Heard, buffers: DataView[]) => void): void;
  off(name: 'msg:custom', heard: (content: Heard, buffers: DataView[]) => void): void;
  send(content: object): void;
  readonly widget_manager?: { readonly kernel?: Kernel | null };
}

interface Comm {
  readonly isDisposed: boolean;
  readonly subshellStarted?: Promise<unknown>;
  open(data: object): unknown;
  send(data: object): unknown;
  dispose(): void;
}

/** JupyterLab's kernel connection, as far as it is there. */
export interface Kernel {
  readonly status?: string;
  readonly isDisposed?: boolean;
  readonly info?: Promise<unknown>;
  readonly supportsSubshells?: boolean;
  createComm?(target: string): Comm;
  readonly statusChanged?: Signal;
  readonly disposed?: Signal;
}

interface Signal {
  connect(slot: () => void): unknown;
  disconnect(slot: () => void): unknown;
}

/** What the kernel sends. */
export interface Heard {
  /** For whom: a page's name, or "" for all. */
  page: string;
  kind: 'said' | 'closed' | 'charts';
  /** Counts the parts, so that a lost one is noticed. */
  n?: number;
  last?: boolean;
  packed?: '' | 'deflate' | 'gzip';
  /** The kernel wants to know whether anybody is there. */
  alive?: boolean;
  reason?: string;
}

const GONE = ['dead', 'terminating', 'restarting', 'autorestarting'];

type Say = { type: 'hello' | 'bye' | 'alive' | 'charts' | 'say'; text?: string };

export class KernelLink {
  /** This page among those that show the same widget. */
  readonly page = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 12)}`;
  private readonly kernel: Kernel | null;
  private socket: CommSocket | null = null;
  private comm: Promise<Comm | null> | null = null;
  /** Keeps what arrives in order, and what is said. */
  private incoming: Promise<void> = Promise.resolve();
  private outgoing: Promise<void> = Promise.resolve();
  private parts: Uint8Array<ArrayBuffer>[] = [];
  private readonly charts: Array<(text: string) => void> = [];
  private chartParts: Uint8Array<ArrayBuffer>[] = [];
  private next = 0;
  private owing = false;

  constructor(private readonly model: WidgetModel) {
    this.kernel = model.widget_manager?.kernel ?? null;
    model.on('msg:custom', this.take);
    this.kernel?.statusChanged?.connect(this.look);
    this.kernel?.disposed?.connect(this.look);
  }

  /** A connection; Session makes it and drops it as somebody looks or does not. */
  connect(): SocketLike {
    this.parts = [];
    this.next = 0;
    const socket = new CommSocket(this);
    this.socket = socket;
    if (this.gone()) {
      queueMicrotask(this.look);
    } else {
      this.say({ type: 'hello' });
    }
    return socket;
  }

  /** The text of charts.js. */
  loadCharts(): Promise<string> {
    return new Promise(resolve => {
      this.charts.push(resolve);
      this.say({ type: 'charts' });
    });
  }

  dispose(): void {
    this.leave(this.socket);
    this.model.off('msg:custom', this.take);
    this.kernel?.statusChanged?.disconnect(this.look);
    this.kernel?.disposed?.disconnect(this.look);
    void this.comm?.then(comm => comm?.dispose()).catch(() => undefined);
  }

  /** Called by the socket. */
  leave(socket: CommSocket | null): void {
    if (socket !== null && socket === this.socket) {
      this.socket = null;
      this.say({ type: 'bye' });
    }
  }

  say(what: Say): void {
    if (this.gone()) {
      return;
    }
    const message = { to: this.model.get('channel'), page: this.page, ...what };
    this.comm ??= this.open(message).catch(() => null);
    const comm = this.comm;
    this.outgoing = this.outgoing
      .then(async () => {
        const opened = await comm;
        if (opened && !opened.isDisposed) {
          opened.send(message);
        } else {
          this.model.send(message);
        }
      })
      .catch(() => this.fail(trans.__('A message to the kernel could not be sent.')));
  }

  /** Whether the kernel is known to be gone; not every program tells. */
  private gone(): boolean {
    const { kernel } = this;
    return Boolean(kernel && (kernel.isDisposed || GONE.includes(kernel.status ?? '')));
  }

  private async open(first: object): Promise<Comm | null> {
    const { kernel } = this;
    if (typeof kernel?.createComm !== 'function') {
      return null;
    }
    await kernel.info;
    if (!kernel.supportsSubshells) {
      return null;
    }
    const comm = kernel.createComm(String(this.model.get('target')));
    await comm.subshellStarted; // opened earlier, it would be the main shell's
    comm.open({ ...first, type: 'opened' });
    return comm;
  }

  private readonly look = (): void => {
    if (this.gone()) {
      const reason = trans.__(
        'The kernel of this panel has ended. Run the cell again to see its next runtime.'
      );
      this.socket?.hear(JSON.stringify({ type: 'ended', reason }));
    }
  };

  private readonly take = (content: Heard, buffers: DataView[]): void => {
    const bytes = buffers.map(
      view => new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength)
    );
    this.incoming = this.incoming
      .then(() => this.sort(content, bytes))
      .catch(() => this.fail(trans.__('A message of the kernel could not be read.')));
  };

  private async sort(content: Heard, bytes: Uint8Array<ArrayBuffer>[]): Promise<void> {
    const { socket } = this;
    const mine = content.page === this.page;
    if (content.kind === 'charts') {
      if (this.charts.length) {
        this.chartParts.push(...bytes);
        if (content.last) {
          const text = await unpack(this.chartParts.splice(0), 'gzip');
          this.charts.splice(0).forEach(resolve => resolve(text));
        }
      }
      return;
    }
    if (socket === null || !(mine || (content.page === '' && !socket.own))) {
      return;
    }
    if (content.kind === 'closed') {
      this.fail(content.reason ?? '');
      return;
    }
    if (content.n === 1) {
      // The kernel begins, or begins anew: for all pages it does so every few seconds.
      socket.own = mine;
      this.next = 1;
      this.parts = [];
    }
    if (content.n === this.next) {
      await this.add(content, bytes, socket);
    } else if (mine && socket.own) {
      this.fail(trans.__('A message of the kernel was lost.'));
    }
  }

  private async add(
    content: Heard,
    bytes: Uint8Array<ArrayBuffer>[],
    socket: CommSocket
  ): Promise<void> {
    this.next += 1;
    this.parts.push(...bytes);
    if (content.last) {
      const text = await unpack(this.parts.splice(0), content.packed ?? '');
      if (this.socket === socket) {
        socket.hear(text);
      }
    }
    this.answer(content.alive === true);
  }

  /** A kernel that is busy hears nothing, or takes our word for its own end of work: later. */
  private answer(asked: boolean): void {
    this.owing ||= asked;
    if (this.owing && (this.kernel?.status ?? 'idle') === 'idle') {
      this.owing = false;
      this.say({ type: 'alive' });
    }
  }

  private fail(reason: string): void {
    const { socket } = this;
    this.socket = null;
    socket?.onclose?.({ code: 1006, reason });
  }
}

class CommSocket implements SocketLike {
  onopen: SocketLike['onopen'] = null;
  onmessage: SocketLike['onmessage'] = null;
  onclose: SocketLike['onclose'] = null;
  /** Whether the kernel has begun to serve this page. */
  own = false;
  private opened = false;

  constructor(private readonly link: KernelLink) {}

  hear(text: string): void {
    if (!this.opened) {
      this.opened = true;
      this.onopen?.(undefined as never);
    }
    this.onmessage?.({ data: text });
  }

  send(text: string): void {
    this.link.say({ type: 'say', text });
  }

  close(): void {
    this.link.leave(this);
  }
}

async function unpack(
  parts: Uint8Array<ArrayBuffer>[],
  packed: '' | 'deflate' | 'gzip'
): Promise<string> {
  const blob = new Blob(parts);
  if (packed === '') {
    return blob.text();
  }
  return new Response(blob.stream().pipeThrough(new DecompressionStream(packed))).text();
}
