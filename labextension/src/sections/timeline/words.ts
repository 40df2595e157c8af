/** Spans, lanes and paths in words: for the card, for screen readers and for the summary. */
import { bytes, clock, count, duration } from '../../format';
import { trans } from '../../i18n';
import type { Cause, Path } from './critical';
import type { Feed } from './feed';
import type { Figures } from './figures';
import { FAILED, RUNNING, WAITED } from './spans';
import { since } from './view';

export function functionName(feed: Feed, group: number): string {
  const [name, kind] = feed.names.get(group) ?? [trans.__('others'), 'task'];
  return kind === 'actor' ? `${name}.__init__` : name;
}

export function stateOf(flags: number): 'running' | 'failed' | 'done' {
  return flags & RUNNING ? 'running' : flags & FAILED ? 'failed' : 'done';
}

export function stateText(flags: number): string {
  const state = stateOf(flags);
  return state === 'running'
    ? trans.__('running')
    : state === 'failed'
      ? trans.__('failed')
      : trans.__('done');
}

/** One span in one sentence. */
export function spoken(feed: Feed, i: number, lane: string): string {
  const { spans } = feed;
  return trans.__(
    '%1 on %2, %3: started at %4, took %5, waited %6 before.',
    functionName(feed, spans.group[i]),
    lane,
    stateText(spans.flags[i]),
    since(spans.start[i] - feed.lanes.begin, 0.001),
    duration(spans.end[i] - spans.start[i]),
    duration(spans.waited[i])
  );
}

export interface Fact {
  name: string;
  text: string;
}

/** What the card says beside the parts of the time. */
export function facts(feed: Feed, i: number, lane: string): Fact[] {
  const { spans } = feed;
  const found = [
    { name: trans.__('Where'), text: trans.__('%1, pid %2', lane, spans.pid[i]) },
    {
      name: trans.__('Started'),
      text: trans.__(
        '%1, at %2',
        since(spans.start[i] - feed.lanes.begin, 0.001),
        clock(spans.start[i])
      )
    }
  ];
  if (spans.size[i] > 0) {
    found.push({ name: trans.__('Result'), text: bytes(spans.size[i]) });
  }
  if (spans.attempt[i] > 0) {
    found.push({ name: trans.__('Attempt'), text: count(spans.attempt[i] + 1) });
  }
  if (spans.flags[i] & WAITED) {
    found.push({ name: trans.__('Note'), text: trans.__('used hardly any CPU') });
  }
  return found;
}

export interface Part {
  key: 'waited' | 'reading' | 'running' | 'storing';
  name: string;
  seconds: number;
}

/** How the time from its submission to its end was spent. */
export function parts(feed: Feed, i: number): Part[] {
  const { spans } = feed;
  const took = spans.end[i] - spans.start[i];
  const reading = Math.min(spans.reading[i], took);
  const storing = Math.min(spans.storing[i], took - reading);
  const all: Part[] = [
    { key: 'waited', name: trans.__('waited'), seconds: spans.waited[i] },
    { key: 'reading', name: trans.__('read arguments'), seconds: reading },
    { key: 'running', name: trans.__('ran'), seconds: took - reading - storing },
    { key: 'storing', name: trans.__('stored results'), seconds: storing }
  ];
  return all.filter(part => part.key === 'running' || part.seconds > 0);
}

/** "64 tasks in 3.1 s · busy 81 % · idle 15 % · reading and storing 4 %". */
export function figuresText(found: Figures): string {
  if (found.tasks === 0) {
    return trans.__('No task ran in this time.');
  }
  const there = found.busy + found.idle;
  const share = (part: number): string => {
    const value = there > 0 ? (100 * part) / there : 0;
    return value > 0 && value < 1 ? '<1' : Math.round(value).toString();
  };
  const texts = [
    trans._n(
      '%2 task in %3',
      '%2 tasks in %3',
      found.tasks,
      count(found.tasks),
      duration(found.seconds)
    ),
    trans.__('busy %1 %', share(found.busy - found.reading - found.storing)),
    trans.__('reading and storing %1 %', share(found.reading + found.storing)),
    trans.__('idle %1 %', share(found.idle))
  ];
  if (found.failed > 0) {
    texts.push(trans._n('%1 failed', '%1 failed', found.failed));
  }
  return texts.join(' · ');
}

export function causeText(cause: Cause): string {
  switch (cause) {
    case 'argument':
      return trans.__('handing over results');
    case 'worker':
      return trans.__('until the worker took the next');
    case 'program':
      return trans.__('your program, before it submitted');
    case 'parent':
      return trans.__('submitting from a task');
    case 'retry':
      return trans.__('before it was tried again');
    default:
      return '';
  }
}

/** How a step came to follow the one before. */
export function linkText(cause: Cause): string {
  switch (cause) {
    case 'argument':
      return trans.__('needed its result');
    case 'worker':
      return trans.__('waited for this worker');
    case 'program':
      return trans.__('was submitted after it');
    case 'parent':
      return trans.__('was submitted by it');
    case 'retry':
      return trans.__('was tried again');
    default:
      return trans.__('the first');
  }
}

/** What to do about it, the most telling first. */
export function advice(path: Path): string[] {
  const total = path.end - path.begin;
  const found: string[] = [];
  if (!(total > 0)) {
    return found;
  }
  if (path.links.worker > 0 && path.unlimited < 0.85 * total) {
    found.push(
      trans.__(
        'With a free worker for every task it would have taken about %1: more workers help.',
        duration(path.unlimited)
      )
    );
  } else if (path.steps.length > 1 && path.running > 0.5 * total) {
    found.push(
      trans.__('More workers would hardly help: each of these steps had to wait for another.')
    );
  }
  if (path.gaps.program > 0.15 * total) {
    found.push(
      trans.__(
        'For %1 nothing was there to run: your program submitted the next task only then.',
        duration(path.gaps.program)
      )
    );
  }
  const moved = path.reading + path.storing;
  if (moved > 0.15 * total) {
    found.push(
      trans.__(
        'Reading arguments and storing results took %1 of it: pass less data, or fewer times.',
        duration(moved)
      )
    );
  }
  return found;
}
