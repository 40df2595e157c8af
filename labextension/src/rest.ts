/** The server extension, as far as it is asked beside the socket. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
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
}
