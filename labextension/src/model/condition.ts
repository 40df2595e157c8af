/**
 * What is to be said when there is not simply a runtime at work: why, and what helps. Pure: the
 * view turns steps into buttons.
 */
import { clock } from '../format';
import { trans } from '../i18n';
import type { Link, State } from './state';

/** What a click can do about it. */
export type Step = 'retry' | 'reload' | 'start' | 'follow' | 'choose';

export interface Condition {
  /** A page of its own, or a line above what was last seen. */
  form: 'page' | 'line';
  /** 'bad' is read out at once by screen readers. */
  tone: 'bad' | 'calm' | 'busy';
  title: string;
  text: string;
  /** Code that helps, for a cell or for a terminal. */
  code: string;
  where: 'cell' | 'terminal';
  steps: readonly Step[];
}

export interface Circumstances {
  /** The notebook in front, "" for none. */
  title: string;
  /** The runtime that is held on to, "" when the notebook is followed. */
  pinned: string;
  /** Whether a runtime can be started from here. */
  canStart: boolean;
}

export const START = 'import fanlight\nfanlight.init()';
export const FIRST = `import fanlight

@fanlight.remote
def square(x):
    return x * x

fanlight.get([square.remote(i) for i in range(8)])`;
const ENABLE = 'jupyter server extension enable fanlight_lab';

/** Null when nothing is to be said. */
export function condition(state: State, around: Circumstances): Condition | null {
  const seen = state.data !== null;
  const last = state.data ? trans.__('This is what it was at %1.', clock(state.data.time)) : '';
  const made = (
    tone: Condition['tone'],
    title: string,
    texts: string[],
    steps: Step[] = [],
    code = '',
    where: Condition['where'] = 'cell'
  ): Condition => ({
    form: seen ? 'line' : 'page',
    tone,
    title,
    text: [...texts, last].filter(Boolean).join(' '),
    code,
    where,
    steps
  });
  if (state.link.state === 'waiting') {
    return unreachable(state.link, made);
  }
  const again = trans.__('The next runtime of this notebook shows up here by itself.');
  const start: Step[] = around.canStart && around.title !== '' ? ['start'] : [];
  switch (state.phase) {
    case 'unknown':
      return made('busy', trans.__('Connecting to the Jupyter server…'), []);
    case 'connecting':
      return seen ? null : made('busy', trans.__('Connecting to the runtime…'), []);
    case 'lost':
      return made(
        'bad',
        trans.__('The runtime does not answer'),
        [
          state.reason || trans.__('The runtime does not answer.'),
          trans.__('Trying again. Its machine may be overloaded, or asleep.')
        ],
        around.pinned ? ['follow'] : []
      );
    case 'ended':
      return around.pinned
        ? made('calm', trans.__('The runtime has ended'), [ending(state.reason)], ['follow'])
        : made('calm', trans.__('The runtime has ended'), [ending(state.reason), again], start);
    case 'none':
      return none(state, around, start);
    case 'live':
      return nothingYet(state);
    default:
      return null;
  }
}

type Make = (
  tone: Condition['tone'],
  title: string,
  texts: string[],
  steps?: Step[],
  code?: string,
  where?: Condition['where']
) => Condition;

function unreachable(link: Extract<Link, { state: 'waiting' }>, made: Make): Condition {
  const seconds = Math.max(1, Math.round(link.seconds));
  const retry = trans.__('Trying again in %1 s.', seconds);
  switch (link.cause) {
    case 'extension':
      return made(
        'bad',
        trans.__('The server has no Fanlight'),
        [
          trans.__(
            'The server extension is not enabled. Run this in a terminal on the server, restart it, and reload the page.'
          )
        ],
        ['retry'],
        ENABLE,
        'terminal'
      );
    case 'access':
      return made(
        'bad',
        trans.__('The Jupyter server refused access'),
        [trans.__('You are signed out, or may not use Fanlight. Reload the page to sign in.')],
        ['reload', 'retry']
      );
    case 'silent':
      return made(
        'bad',
        trans.__('No connection to the Jupyter server'),
        [
          trans.__(
            'The Jupyter server does not answer: it was stopped, or the network is down.'
          ),
          retry
        ],
        ['retry']
      );
    case 'version':
      return made(
        'bad',
        trans.__('The page and the server do not fit together'),
        [
          trans.__(
            'They have different versions of Fanlight. Reload the page; if that does not help, restart the Jupyter server.'
          )
        ],
        ['reload', 'retry']
      );
    default:
      return made(
        'bad',
        trans.__('No connection to the Jupyter server'),
        [link.reason || trans.__('The connection to the Jupyter server was lost.'), retry],
        ['retry']
      );
  }
}

function none(
  state: State,
  { title, pinned, canStart }: Circumstances,
  start: Step[]
): Condition {
  const steps: Step[] = state.runtimes.length > 0 ? [...start, 'choose'] : start;
  const base = { form: 'page', tone: 'calm', code: START, where: 'cell' } as const;
  if (pinned) {
    return {
      ...base,
      code: '',
      title: trans.__('This runtime has ended'),
      text: state.reason || trans.__('This runtime does not exist any more.'),
      steps: ['follow', ...steps.filter(step => step === 'choose')]
    };
  }
  if (!title) {
    return {
      ...base,
      title: trans.__('No notebook is open'),
      text: trans.__('Open a notebook and run this in a cell:'),
      steps
    };
  }
  return {
    ...base,
    title: trans.__('No runtime here yet'),
    text: canStart
      ? trans.__(
          '%1 has not started Fanlight. Start it here, run this in a cell, or simply call a remote function:',
          title
        )
      : trans.__(
          '%1 has not started Fanlight. Run this in a cell, or simply call a remote function:',
          title
        ),
    steps
  };
}

/** A runtime at which nothing has happened: what to do first. */
function nothingYet({ data }: State): Condition | null {
  if (data === null || data.groups.size > 0 || data.actors.size > 0) {
    return null;
  }
  const cpus = data.runtime.total.CPU ?? 0;
  return {
    form: 'line',
    tone: 'calm',
    title: trans.__('No tasks yet'),
    text: trans._n(
      'The runtime is up, with %1 CPU. Call a remote function, and its tasks show up here:',
      'The runtime is up, with %1 CPUs. Call a remote function, and its tasks show up here:',
      cpus
    ),
    code: FIRST,
    where: 'cell',
    steps: []
  };
}

/** "shutdown" → "The runtime has ended: shutdown."; whole sentences stay as they are. */
export function ending(reason: string): string {
  const text = reason.trim().replace(/\.$/, '');
  if (!text) {
    return trans.__('The runtime has ended.');
  }
  return text.startsWith('The ') ? `${text}.` : trans.__('The runtime has ended: %1.', text);
}
