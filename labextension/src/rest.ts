/** Requests to the server extension beside the socket: questions and commands. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { TaskView } from './events';
import type { SocketLike } from './transport';

/** One fact of a reason to wait; a tree by depth. `task` is an id to go to, or "". */
export interface WhyLine {
  depth: number;
  label: string;
  text: string;
  task: string;
}

/** Why a task or an actor waits, or what it does. Names stand in backquotes. */
export interface WhyAnswer {
  sentence: string;
  lines: WhyLine[];
}

/** A runtime's answer about one task. */
export interface TaskAnswer {
  task: TaskView | null;
  why: string;
  lines?: WhyLine[];
  traceback: string;
  deps: unknown[];
}

export type Command =
  | { action: 'cancel'; task: string; force?: boolean }
  | { action: 'kill_actor'; actor: string }
  | { action: 'shutdown' };

/** What the sections may ask and do. The panel passes it down; tests pass their own. */
export interface Actions {
  task(runtime: string, id: string): Promise<TaskAnswer>;
  why(runtime: string, id: string): Promise<WhyAnswer>;
  groupTasks(runtime: string, group: number): Promise<TaskView[]>;
  command(runtime: string, command: Command): Promise<void>;
}

export class Rest implements Actions {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  task(runtime: string, id: string): Promise<TaskAnswer> {
    return this.post<TaskAnswer>(runtime, 'query', { what: 'task', id });
  }

  why(runtime: string, id: string): Promise<WhyAnswer> {
    return this.post<WhyAnswer>(runtime, 'query', { what: 'why', id });
  }

  async groupTasks(runtime: string, group: number): Promise<TaskView[]> {
    const body = { what: 'group_tasks', group, limit: 2000 };
    return (await this.post<{ tasks: TaskView[] }>(runtime, 'query', body)).tasks;
  }

  async command(runtime: string, command: Command): Promise<void> {
    await this.post(runtime, 'command', command);
  }

  /** A socket to the server; the token travels as in JupyterLab's own sockets. */
  socket(): SocketLike {
    const { wsUrl, token, appendToken, WebSocket } = this.settings;
    let url = URLExt.join(wsUrl, 'fanlight', 'api', 'events');
    if (appendToken && token) {
      url += `?token=${encodeURIComponent(token)}`;
    }
    return new WebSocket(url) as unknown as SocketLike;
  }

  /** Why the socket could not be opened; "" when the reason is not known here. */
  async diagnose(): Promise<string> {
    try {
      const response = await this.request('runtimes', { method: 'GET' });
      if (response.status === 404) {
        return 'The server extension is not enabled. Run: jupyter server extension enable fanlight_lab';
      }
      if (response.status === 401 || response.status === 403) {
        return 'The Jupyter server refused access: you are signed out, or may not use Fanlight.';
      }
      return '';
    } catch {
      return 'The Jupyter server does not answer.';
    }
  }

  private request(path: string, init: RequestInit): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, 'fanlight', 'api', path);
    return ServerConnection.makeRequest(url, init, this.settings);
  }

  private async post<T>(runtime: string, path: string, body: object): Promise<T> {
    const response = await this.request(`runtimes/${encodeURIComponent(runtime)}/${path}`, {
      method: 'POST',
      body: JSON.stringify(body)
    });
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return (await response.json()) as T;
  }
}
