import { Session } from '@fanlight/model/session';
import type { SocketLike } from '@fanlight/transport';
import { delta, snapshot } from './samples';

class FakeSocket implements SocketLike {
  onopen: SocketLike['onopen'] = null;
  onmessage: SocketLike['onmessage'] = null;
  onclose: SocketLike['onclose'] = null;
  readonly sent: Array<Record<string, unknown>> = [];
  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }
  close(): void {}
  say(message: object): void {
    this.onmessage!({ data: JSON.stringify(message) });
  }
}

function setup() {
  const socket = new FakeSocket();
  const frames: Array<() => void> = [];
  const session = new Session({
    connect: () => socket,
    diagnose: () => Promise.resolve(null),
    schedule: run => frames.push(run)
  });
  session.watch('panel', true);
  socket.onopen!(undefined as never);
  return { session, socket, frames };
}

test('listeners hear once a frame, however many events come', () => {
  const { session, socket, frames } = setup();
  frames.splice(0).forEach(run => run());
  let heard = 0;
  session.store.subscribe(() => (heard += 1));
  socket.say(snapshot());
  socket.say(delta(6));
  socket.say(delta(7));
  expect(frames).toHaveLength(1);
  frames.splice(0).forEach(run => run());
  expect(heard).toBe(1);
  expect(session.store.get().data!.seq).toBe(7);
});

test('a gap makes it attach again', () => {
  const { socket } = setup();
  socket.say(snapshot());
  socket.say(delta(9));
  expect(socket.sent.map(m => m.type)).toEqual(['follow', 'pause', 'resume']);
});

test('a pinned runtime wins over the notebook in front', () => {
  const { session, socket } = setup();
  session.setKernel('k1');
  session.pin('r1');
  session.setKernel('k2');
  session.pin('');
  expect(socket.sent.slice(1)).toEqual([
    { type: 'follow', kernel_id: 'k1' },
    { type: 'follow', runtime_id: 'r1' },
    { type: 'follow', kernel_id: 'k2' }
  ]);
});

test('live as long as one of panel and status bar looks', () => {
  const { session, socket } = setup();
  session.watch('status', true);
  session.watch('panel', false);
  expect(socket.sent.map(m => m.type)).toEqual(['follow']);
  session.watch('status', false);
  expect(socket.sent.map(m => m.type)).toEqual(['follow', 'pause']);
});
