/**
 * The spans of the runtime on view, asked for while the section is drawn, a few times a second at most.
 * One feed for a source, however many places draw it; it outlives them, so that what is opened again
 * is there at once.
 */
import { useCallback, useEffect, useMemo, useSyncExternalStore } from 'react';
import type { SpansAnswer } from '../../answers';
import type { Source } from '../../model/source';
import type { Data } from '../../model/state';
import { Feed } from './feed';

const PAUSE = 300; // milliseconds between two questions

export class SharedFeed {
  readonly feed = new Feed();
  private readonly listeners = new Set<() => void>();
  private timer: ReturnType<typeof setTimeout> | null = null;
  private last = -Infinity;
  private asking = false;
  private wanted = false;

  constructor(
    private readonly source: Pick<Source, 'ask'>,
    readonly runtimeId: string
  ) {}

  readonly version = (): number => this.feed.version;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0 && this.timer !== null) {
        clearTimeout(this.timer); // nobody looks any more
        this.timer = null;
      }
    };
  };

  /** There may be something new: it is asked for at once, or when the pause is over. */
  readonly again = (): void => {
    if (this.asking) {
      this.wanted = true;
    } else {
      const wait = Math.max(0, this.last + PAUSE - performance.now());
      this.timer ??= setTimeout(() => void this.ask(), wait);
    }
  };

  private async ask(): Promise<void> {
    this.timer = null;
    this.asking = true;
    this.wanted = false;
    this.last = performance.now();
    await this.feed.pull(after => this.source.ask<SpansAnswer>({ what: 'spans', after }));
    this.asking = false;
    this.listeners.forEach(listener => listener());
    if (this.wanted && this.listeners.size > 0) {
      this.again(); // what came since
    }
  }
}

const feeds = new WeakMap<Source, SharedFeed>();

function feedOf(source: Source, runtimeId: string): SharedFeed {
  let shared = feeds.get(source);
  if (shared?.runtimeId !== runtimeId) {
    shared = new SharedFeed(source, runtimeId);
    feeds.set(source, shared);
  }
  return shared;
}

export interface Fed {
  feed: Feed;
  /** Another number whenever the feed has changed. */
  version: number;
  again: () => void;
}

export function useFeed(source: Source, data: Data, askable: boolean): Fed {
  const runtimeId = data.runtime.id;
  const shared = useMemo(() => feedOf(source, runtimeId), [source, runtimeId]);
  const version = useSyncExternalStore(shared.subscribe, shared.version, shared.version);
  const again = useCallback(() => shared.again(), [shared]);
  useEffect(() => {
    if (askable) {
      again();
    }
  }, [again, askable, data.groups, data.tasks]);
  return { feed: shared.feed, version, again };
}
