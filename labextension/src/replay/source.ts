/** A recording as a source of the panel: the state of the moment, and answers about it. */
import type { TaskView } from '../events';
import { trans } from '../i18n';
import type { Query } from '../model/queries';
import type { Source } from '../model/source';
import { Store, type Schedule } from '../model/store';
import { Answers, type Asked } from './answers';
import type { RecordingFile } from './file';
import { Film } from './film';
import { Player, type Frames } from './player';

export class ReplaySource implements Source {
  readonly kind = 'replay';
  readonly controls = false;
  readonly store: Store;
  readonly player: Player;
  readonly answers: Answers;
  private readonly watchers = new Set<string>();

  constructor(
    readonly file: RecordingFile,
    options: { schedule: Schedule; frames: Frames }
  ) {
    this.store = new Store(options.schedule);
    this.store.dispatch({ type: 'link', link: { state: 'open' } });
    const film = new Film(file, action => this.store.dispatch(action));
    this.player = new Player(film, options.frames);
    let last: Promise<ReadonlyMap<string, TaskView>> | null = null;
    this.answers = new Answers(file, () => (last ??= lastTasks(file)));
  }

  /** Show the end, where everything is. Rejects with a RecordingError. */
  async open(): Promise<void> {
    await this.player.open();
  }

  /** What the recording is called: by whoever made it, else the name of its file. */
  async title(): Promise<string> {
    const [head] = this.file.of('head');
    try {
      const [{ title }] = await this.file.lines<{ title?: string }>(head);
      return title || this.file.name;
    } catch {
      return this.file.name;
    }
  }

  async ask<T>(query: Query): Promise<T> {
    const data = this.store.get().data;
    if (data === null) {
      throw new Error(trans.__('The recording is not on view yet.'));
    }
    return (await this.answers.answer(query as unknown as Asked, data)) as T;
  }

  command(): Promise<void> {
    return Promise.reject(new Error(trans.__('A recording cannot be changed.')));
  }

  watch(who: string, visible: boolean): void {
    if (visible) {
      this.watchers.add(who);
    } else {
      this.watchers.delete(who);
    }
    this.player.setVisible(this.watchers.size > 0);
  }

  retryNow(): void {
    this.player.seek(this.player.get().at);
  }

  dispose(): void {
    this.player.dispose();
  }
}

/** The tasks that the recording ends with. */
async function lastTasks(file: RecordingFile): Promise<ReadonlyMap<string, TaskView>> {
  const store = new Store(() => undefined);
  const film = new Film(file, action => store.dispatch(action));
  await film.show(film.end);
  return store.get().data?.tasks ?? new Map();
}
