/**
 * The clock of a replay: where it stands, whether and how fast it plays. One frame is asked for at a
 * time, and none while nothing plays or nobody looks.
 */
import type { Film } from './film';

export const SPEEDS: readonly number[] = [0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100];

export interface PlayerState {
  /** The moment on view, in seconds since the epoch. */
  at: number;
  playing: boolean;
  speed: number;
  /** Why it cannot go on; "" while it can. */
  problem: string;
}

/** The part of the window that is used. */
export interface Frames {
  request(run: (milliseconds: number) => void): number;
  cancel(handle: number): void;
}

export class Player {
  readonly start: number;
  readonly end: number;
  private state: PlayerState;
  private readonly listeners = new Set<() => void>();
  private handle: number | null = null;
  private last: number | null = null; // milliseconds of the last frame
  private visible = true;
  private busy = false;
  private disposed = false;

  constructor(
    private readonly film: Film,
    private readonly frames: Frames
  ) {
    this.start = film.start;
    this.end = film.end;
    this.state = { at: film.end, playing: false, speed: 1, problem: '' };
  }

  /** Show the end, where everything is. Rejects with a RecordingError. */
  async open(): Promise<void> {
    await this.film.show(this.state.at);
  }

  readonly get = (): PlayerState => this.state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Play on; from the beginning if it stands at the end. */
  play(): void {
    if (this.state.at >= this.end) {
      this.update({ at: this.start });
      this.follow();
    }
    this.update({ playing: true });
    this.run();
  }

  pause(): void {
    this.update({ playing: false });
    this.halt();
  }

  toggle(): void {
    if (this.state.playing) {
      this.pause();
    } else {
      this.play();
    }
  }

  seek(time: number): void {
    const at = Math.min(Math.max(time, this.start), this.end);
    this.last = null;
    this.update({ at, problem: '' });
    this.follow();
  }

  /** To the next event, or the one before. Stops playing. */
  async step(forward: boolean): Promise<void> {
    this.pause();
    try {
      this.seek(await this.film.neighbour(this.state.at, forward));
    } catch (error) {
      this.fail(error);
    }
  }

  setSpeed(speed: number): void {
    this.update({ speed });
  }

  /** Time stands still while nobody looks. */
  setVisible(visible: boolean): void {
    this.visible = visible;
    if (visible) {
      this.run();
    } else {
      this.halt();
    }
  }

  dispose(): void {
    this.disposed = true;
    this.halt();
    this.listeners.clear();
  }

  private run(): void {
    if (this.handle === null && this.state.playing && this.visible && !this.disposed) {
      this.handle = this.frames.request(this.frame);
    }
  }

  private halt(): void {
    if (this.handle !== null) {
      this.frames.cancel(this.handle);
      this.handle = null;
    }
    this.last = null;
  }

  private readonly frame = (milliseconds: number): void => {
    this.handle = null;
    // A tab that was in the background for a while does not jump.
    const passed = this.last === null ? 0 : Math.min((milliseconds - this.last) / 1000, 0.25);
    this.last = milliseconds;
    const at = Math.min(this.state.at + passed * this.state.speed, this.end);
    this.update({ at, playing: at < this.end });
    this.follow();
    this.run();
  };

  /** Bring the film to where the clock stands; one request at a time, the last one wins. */
  private follow(): void {
    if (this.busy) {
      return;
    }
    this.busy = true;
    const at = this.state.at;
    this.film
      .show(at)
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.busy = false;
        if (this.state.at !== at && !this.state.problem && !this.disposed) {
          this.follow();
        }
      });
  }

  private fail(error: unknown): void {
    this.pause();
    this.update({ problem: error instanceof Error ? error.message : String(error) });
  }

  private update(change: Partial<PlayerState>): void {
    this.state = { ...this.state, ...change };
    this.listeners.forEach(listener => listener());
  }
}
