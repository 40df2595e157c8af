/** The spans of the runtime on view, asked for while the section is drawn, a few times a second. */
import { useCallback, useEffect, useMemo, useRef, useState } from 'react';
import type { SpansAnswer } from '../../answers';
import type { Source } from '../../model/source';
import type { Data } from '../../model/state';
import { Feed } from './feed';

const PAUSE = 300; // milliseconds between two questions

export interface Fed {
  feed: Feed;
  /** Another number whenever the feed has changed. */
  version: number;
  again: () => void;
}

export function useFeed(source: Source, data: Data, askable: boolean): Fed {
  const runtimeId = data.runtime.id;
  // eslint-disable-next-line react-hooks/exhaustive-deps
  const feed = useMemo(() => new Feed(), [source, runtimeId]);
  const [version, setVersion] = useState(0);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const last = useRef(-Infinity);
  const again = useCallback(() => {
    if (timer.current !== null) {
      return; // it will be asked in a moment
    }
    const ask = (): void => {
      timer.current = null;
      last.current = performance.now();
      const query = (after: number): Promise<SpansAnswer> =>
        source.ask<SpansAnswer>({ what: 'spans', after });
      void feed.pull(query).then(asked => {
        if (asked) {
          setVersion(n => n + 1);
        } else {
          again(); // a question was under way: what came since is asked for afterwards
        }
      });
    };
    const wait = Math.max(0, last.current + PAUSE - performance.now());
    timer.current = setTimeout(ask, wait);
  }, [source, feed]);
  useEffect(() => {
    if (askable) {
      again();
    }
  }, [again, askable, data.groups, data.tasks]);
  useEffect(
    () => () => {
      if (timer.current !== null) {
        clearTimeout(timer.current);
        timer.current = null;
      }
    },
    [feed]
  );
  return { feed, version, again };
}
