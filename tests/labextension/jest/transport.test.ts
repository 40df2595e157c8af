import type { Cause, Link } from '@fanlight/model/state';
import {
  Transport,
  backoff,
  FIRST_DELAY,
  LONGEST_DELAY,
  type SocketLike
} from '@fanlight/transport';

class FakeSocket implements SocketLike {
  onopen: SocketLike['onopen'] = null;
  onmessage: SocketLike['onmessage'] = null;
  onclose: SocketLike['onclose'] = null;
  readonly sent: object[] = [];
  closed = false;

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(): void {
    this.closed = true;
  }

  accept(): void {
    this.onopen!(undefined as never);
  }

  fail(reason = ''): void {
    this.onclose!({ code: 1006, reason });
  }
}

function setup(diagnose?: () => Promise<Cause | null>) {
  const sockets: FakeSocket[] = [];
  const links: Link[] = [];
  const messages: unknown[] = [];
  const transport = new Transport({
    connect: () => {
      sockets.push(new FakeSocket());
      return sockets[sockets.length - 1];
    },
    onLink: link => links.push(link),
    onMessage: message => messages.push(message),
    diagnose,
    random: () => 1
  });
  return { transport, sockets, links, messages };
}

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

test('nothing is opened before somebody looks', () => {
  const { transport, sockets } = setup();
  transport.follow({ kernel_id: 'k' });
  jest.runAllTimers();
  expect(sockets).toHaveLength(0);
  transport.resume();
  expect(sockets).toHaveLength(1);
});

test('says what it follows when the socket opens, and when that changes', () => {
  const { transport, sockets } = setup();
  transport.follow({ kernel_id: 'k1' });
  transport.resume();
  sockets[0].accept();
  transport.follow({ kernel_id: 'k1' });
  transport.follow({ runtime_id: 'r' });
  expect(sockets[0].sent).toEqual([
    { type: 'follow', kernel_id: 'k1' },
    { type: 'follow', runtime_id: 'r' }
  ]);
});

test('pauses and resumes on the same socket', () => {
  const { transport, sockets } = setup();
  transport.resume();
  sockets[0].accept();
  transport.pause();
  transport.pause();
  transport.resume();
  expect(sockets).toHaveLength(1);
  expect(sockets[0].sent.slice(1)).toEqual([{ type: 'pause' }, { type: 'resume' }]);
});

test('back-off doubles up to its limit', () => {
  const delays = Array.from({ length: 10 }, (_, n) => backoff(n, () => 1));
  expect(delays.slice(0, 4)).toEqual([0.5, 1, 2, 4]);
  expect(Math.max(...delays)).toBe(LONGEST_DELAY);
  expect(backoff(1000, () => 1)).toBe(LONGEST_DELAY);
  expect(backoff(0, () => 0)).toBeCloseTo(FIRST_DELAY * 0.75);
});

test('reconnects, ever slower, and follows again', () => {
  const { transport, sockets, links } = setup();
  transport.follow({ kernel_id: 'k' });
  transport.resume();
  sockets[0].accept();
  sockets[0].fail();
  for (const seconds of [0.5, 1, 2, 4]) {
    expect(links[links.length - 1]).toMatchObject({ state: 'waiting', seconds });
    const before = sockets.length;
    jest.advanceTimersByTime(seconds * 1000 - 1);
    expect(sockets).toHaveLength(before);
    jest.advanceTimersByTime(1);
    expect(sockets).toHaveLength(before + 1);
    sockets[before].fail();
  }
  jest.advanceTimersByTime(8000);
  const last = sockets[sockets.length - 1];
  last.accept();
  expect(last.sent).toEqual([{ type: 'follow', kernel_id: 'k' }]);
  last.fail();
  expect(links[links.length - 1]).toMatchObject({ state: 'waiting', seconds: 0.5 });
});

test('a failed socket is not heard any more', () => {
  const { transport, sockets, messages } = setup();
  transport.resume();
  const first = sockets[0];
  const heard = first.onmessage;
  first.accept();
  first.fail();
  heard?.({ data: '{"type":"runtimes","runtimes":[]}' });
  expect(messages).toHaveLength(0);
  expect(first.closed).toBe(true);
});

test('a hidden panel does not reconnect', () => {
  const { transport, sockets, links } = setup();
  transport.resume();
  sockets[0].accept();
  transport.pause();
  sockets[0].fail();
  jest.runAllTimers();
  expect(sockets).toHaveLength(1);
  expect(links[links.length - 1]).toEqual({ state: 'idle' });
  transport.resume();
  expect(sockets).toHaveLength(2);
});

test('hiding while it waits cancels the next attempt', () => {
  const { transport, sockets } = setup();
  transport.resume();
  sockets[0].fail();
  transport.pause();
  jest.runAllTimers();
  expect(sockets).toHaveLength(1);
});

test('try now', () => {
  const { transport, sockets } = setup();
  transport.resume();
  transport.retryNow();
  expect(sockets).toHaveLength(1); // it is connecting already
  sockets[0].fail();
  transport.retryNow();
  expect(sockets).toHaveLength(2);
  jest.runAllTimers();
  expect(sockets).toHaveLength(2);
});

test('the reason of a refusal is asked for and told', async () => {
  const { transport, sockets, links } = setup(() => Promise.resolve('extension' as const));
  transport.resume();
  sockets[0].fail();
  await Promise.resolve();
  await Promise.resolve();
  expect(links[links.length - 1]).toMatchObject({ state: 'waiting', cause: 'extension' });
});

test('a server that understands another version is not asked again and again', () => {
  const { transport, sockets, links } = setup();
  transport.resume();
  sockets[0].accept();
  sockets[0].onclose?.({ code: 1008, reason: 'bad message' });
  expect(links[links.length - 1]).toMatchObject({ cause: 'version', seconds: 16 });
});

test('a gap is mended by attaching again', () => {
  const { transport, sockets } = setup();
  transport.resume();
  sockets[0].accept();
  transport.resync();
  expect(sockets[0].sent.slice(1)).toEqual([{ type: 'pause' }, { type: 'resume' }]);
});

test('disposed is silent', () => {
  const { transport, sockets } = setup();
  transport.resume();
  sockets[0].accept();
  transport.dispose();
  transport.resume();
  jest.runAllTimers();
  expect(sockets).toHaveLength(1);
  expect(sockets[0].closed).toBe(true);
});

test('answers reach who asked, in any order; a refusal is an error', async () => {
  const { transport, sockets, messages } = setup();
  transport.resume();
  sockets[0].accept();
  const why = transport.ask({ what: 'why', id: 'a' });
  const told = transport.tell({ action: 'shutdown' });
  expect(sockets[0].sent.slice(1)).toEqual([
    { type: 'ask', query: { what: 'why', id: 'a' }, id: 1 },
    { type: 'do', command: { action: 'shutdown' }, id: 2 }
  ]);
  const say = (message: object): unknown =>
    sockets[0].onmessage!({ data: JSON.stringify(message) });
  say({ type: 'answer', id: 2, error: 'no' });
  say({ type: 'answer', id: 1, data: { sentence: 's' } });
  say({ type: 'answer', id: 9, data: null });
  await expect(told).rejects.toThrow('no');
  await expect(why).resolves.toEqual({ sentence: 's' });
  expect(messages).toEqual([]);
});

test('what was asked of a lost connection fails', async () => {
  const { transport, sockets } = setup();
  await expect(transport.ask({ what: 'why', id: 'a' })).rejects.toThrow('no connection');
  transport.resume();
  sockets[0].accept();
  const asked = transport.ask({ what: 'why', id: 'a' });
  sockets[0].fail();
  await expect(asked).rejects.toThrow('was lost');
});
