/**
 * The recording as a film: brings the store to any moment of it. A keyframe is the start of a scene;
 * the deltas after it lead to the moment. The clock is in `player.ts`.
 */
import type { Delta, Snapshot } from '../events';
import type { Action } from '../model/reducer';
import type { Part, RecordingFile } from './file';

/** A keyframe and what follows it until the next one. */
interface Scene {
  readonly key: Part;
  readonly deltas: readonly Part[];
  readonly start: number;
  readonly end: number;
}

interface Loaded {
  readonly number: number;
  readonly snapshot: Snapshot;
  readonly deltas: readonly Delta[];
}

const KEPT = 3; // scenes in memory

export class Film {
  readonly start: number;
  readonly end: number;
  private readonly scenes: readonly Scene[];
  private readonly loaded = new Map<number, Promise<Loaded>>();
  private shown: Loaded | null = null;
  private next = 0; // the delta of `shown` that comes next
  private turn = 0;

  constructor(
    private readonly file: RecordingFile,
    private readonly dispatch: (action: Action) => void
  ) {
    this.scenes = scenes(file.parts);
    this.start = this.scenes[0].start;
    this.end = Math.max(...this.scenes.map(scene => scene.end));
  }

  /**
   * Show the moment `time`. Resolves to whether it is on view now: not if another moment was asked
   * for meanwhile. Rejects with a RecordingError.
   */
  async show(time: number): Promise<boolean> {
    const turn = ++this.turn;
    const number = this.sceneAt(time);
    const shown = this.shown;
    if (shown !== null && shown.number === number && this.passed(shown, time)) {
      this.play(shown, time);
      return true;
    }
    const scene = await this.load(number);
    if (turn !== this.turn) {
      return false;
    }
    const goesOn =
      shown !== null && shown.number + 1 === number && this.scenes[number].key.again;
    if (goesOn) {
      this.play(shown, Infinity);
      this.next = 0;
    } else {
      // Forget what was on view: rates and histories of the future are not those of the past.
      this.dispatch({ type: 'target' });
      this.dispatch({ type: 'status', state: 'none', reason: '', runtime_id: '' });
      this.dispatch(scene.snapshot);
      this.next = 0;
    }
    this.shown = scene;
    this.play(scene, time);
    return true;
  }

  /** When the next event after `time` was, or the last one before it. */
  async neighbour(time: number, forward: boolean): Promise<number> {
    let number = this.sceneAt(time);
    for (;;) {
      const { deltas } = await this.load(number);
      const times = [this.scenes[number].start, ...deltas.map(delta => delta.time)];
      const found = forward
        ? times.find(t => t > time + 1e-6)
        : times.reverse().find(t => t < time - 1e-6);
      if (found !== undefined) {
        return found;
      }
      number += forward ? 1 : -1;
      if (number < 0) {
        return this.start;
      }
      if (number >= this.scenes.length) {
        return this.end;
      }
    }
  }

  /** Whether `time` is not before what is on view. */
  private passed(shown: Loaded, time: number): boolean {
    return this.next === 0 || shown.deltas[this.next - 1].time <= time;
  }

  private play(scene: Loaded, time: number): void {
    while (this.next < scene.deltas.length && scene.deltas[this.next].time <= time) {
      this.dispatch(scene.deltas[this.next]);
      this.next += 1;
    }
  }

  private sceneAt(time: number): number {
    let low = 0;
    let high = this.scenes.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.scenes[middle].start <= time) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    return low;
  }

  private load(number: number): Promise<Loaded> {
    const known = this.loaded.get(number);
    this.loaded.delete(number); // it is the newest then
    const loading = known ?? this.unpack(number);
    this.loaded.set(number, loading);
    if (this.loaded.size > KEPT) {
      const [oldest] = this.loaded.keys();
      this.loaded.delete(oldest);
    }
    return loading;
  }

  private async unpack(number: number): Promise<Loaded> {
    const scene = this.scenes[number];
    const [snapshot] = await this.file.lines<Snapshot>(scene.key);
    const deltas: Delta[] = [];
    for (const part of scene.deltas) {
      deltas.push(...(await this.file.lines<Delta>(part)));
    }
    return { number, snapshot, deltas };
  }
}

function scenes(parts: readonly Part[]): Scene[] {
  const found: { key: Part; deltas: Part[]; start: number; end: number }[] = [];
  for (const part of parts) {
    const scene = found.at(-1);
    if (part.kind === 'key') {
      found.push({ key: part, deltas: [], start: part.t0, end: part.t0 });
    } else if (part.kind === 'delta' && scene) {
      scene.deltas.push(part);
      scene.end = Math.max(scene.end, part.t1);
    }
  }
  return found;
}
