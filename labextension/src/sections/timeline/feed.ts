/** Keeps the spans of a source up to date, asking for what is new; no timers, no DOM. */
import type { SpansAnswer } from '../../answers';
import { unbase64 } from '../../model/bytes';
import { Lanes, type Living, type Names } from './lanes';
import { Slots } from './palette';
import { RUNNING, Spans } from './spans';

const NAMES = 4_000;
const PAGES = 400; // of one round; a runtime never has as many

export type Ask = (after: number) => Promise<SpansAnswer>;

export class Feed {
  readonly spans = new Spans();
  lanes = new Lanes(this.spans);
  readonly slots = new Slots();
  names: Names = new Map();
  living: Living = new Map();
  clients: ReadonlyMap<string, number> = new Map();
  /** How many older ones are not here, since the runtime or this page keeps the newest only. */
  forgotten = 0;
  loaded = false;
  problem = '';
  /** Grows when anything changed. */
  version = 0;
  private cursor = 0;
  private settled = 0;
  private asking = false;

  /** Asks for what is new; false if it asks already. Never rejects: `problem` says what is wrong. */
  async pull(ask: Ask): Promise<boolean> {
    if (this.asking) {
      return false;
    }
    this.asking = true;
    try {
      for (let page = 0; page < PAGES; page += 1) {
        const answer = await ask(this.cursor);
        this.take(answer);
        if (!answer.more) {
          break;
        }
      }
      this.problem = '';
      this.loaded = true;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
    } finally {
      this.asking = false;
      this.version += 1;
    }
    return true;
  }

  take(answer: SpansAnswer): void {
    const { spans } = this;
    if (answer.reset || answer.next < this.cursor) {
      spans.settle(0);
      spans.dropped = 0;
      this.settled = 0;
      this.lanes = new Lanes(spans);
    }
    spans.settle(this.settled);
    const names = new Map(this.names);
    for (const [group, name] of Object.entries(answer.names)) {
      names.delete(Number(group));
      names.set(Number(group), name);
    }
    for (const group of [...names.keys()].slice(0, Math.max(0, names.size - NAMES))) {
      names.delete(group);
    }
    this.names = names;
    const first = spans.count;
    spans.append(unbase64(answer.records), answer.record);
    const moved = spans.trim();
    this.settled = spans.count;
    for (let i = moved ? 0 : first; i < spans.count; i += 1) {
      this.slots.of(spans.group[i], names.get(spans.group[i])?.[0] ?? '');
    }
    if (!answer.more) {
      spans.addRunning(answer.running, answer.now);
      answer.running.forEach(row => this.slots.of(row[1], names.get(row[1])?.[0] ?? ''));
      this.living = new Map(Object.entries(answer.lanes).map(([n, l]) => [Number(n), l]));
      this.clients = new Map(
        Object.entries(answer.clients).map(([n, client]) => [client, Number(n)])
      );
    }
    if (moved) {
      this.lanes = new Lanes(spans);
    }
    this.lanes.add(moved ? 0 : first, names);
    this.forgotten = answer.forgotten + spans.dropped;
    this.cursor = answer.next;
    this.version += 1;
  }

  /** What runs has run until now. */
  tick(now: number): void {
    const { spans } = this;
    for (let i = this.settled; i < spans.count; i += 1) {
      if (spans.flags[i] & RUNNING) {
        spans.end[i] = Math.max(spans.start[i], now);
      }
    }
  }

  get running(): number {
    return this.spans.count - this.settled;
  }

  /** From the first start to the last end, or to `now` while something runs; null without tasks. */
  extent(now: number): { begin: number; end: number } | null {
    const { begin, end } = this.lanes;
    if (!Number.isFinite(begin)) {
      return null;
    }
    const last = Math.max(end, this.running ? now : -Infinity, begin);
    return { begin, end: last };
  }
}
