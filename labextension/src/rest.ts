/** The server extension, as far as it is asked beside the socket. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { trans } from './i18n';
import type { Cause, RecordingRow } from './model/state';
import type { SocketLike } from './transport';

export class Rest {
  constructor(private readonly settings: ServerConnection.ISettings) {}

  /** A socket to the server; the token travels as in JupyterLab's own sockets. */
  socket(): SocketLike {
    const { wsUrl, token, appendToken, WebSocket } = this.settings;
    let url = URLExt.join(wsUrl, 'fanlight', 'api', 'events');
    if (appendToken && token) {
      url += `?token=${encodeURIComponent(token)}`;
    }
    return new WebSocket(url) as unknown as SocketLike;
  }

  /** Why the socket could not be opened; null when the reason is not known here. */
  async diagnose(): Promise<Cause | null> {
    try {
      const { status } = await this.request('runtimes', { method: 'GET' });
      return status === 404 ? 'extension' : status === 401 || status === 403 ? 'access' : null;
    } catch {
      return 'silent';
    }
  }

  /** Begin to record a runtime into a file beside its notebook. */
  record(runtimeId: string): Promise<RecordingRow> {
    return this.json('recordings', 'POST', { runtime_id: runtimeId });
  }

  endRecording(id: string): Promise<RecordingRow> {
    return this.json(`recordings/${id}`, 'DELETE');
  }

  /** Write the page that plays a recording; both paths are the server's. */
  exportRecording(path: string): Promise<{ path: string }> {
    return this.json('recordings/export', 'POST', { path });
  }

  /** Rejects with the server's sentence. */
  private async json<T>(path: string, method: string, body?: object): Promise<T> {
    const response = await this.request(path, {
      method,
      body: body && JSON.stringify(body)
    }).catch((error: unknown) => {
      throw error instanceof ServerConnection.NetworkError
        ? new Error(trans.__('The Jupyter server could not be reached.')) // not "Failed to fetch"
        : error;
    });
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return (await response.json()) as T;
  }

  private request(path: string, init: RequestInit): Promise<Response> {
    const url = URLExt.join(this.settings.baseUrl, 'fanlight', 'api', path);
    return ServerConnection.makeRequest(url, init, this.settings);
  }
}
