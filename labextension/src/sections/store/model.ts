/** What is said about objects: what could be let go, and which facts are known. Pure. */
import type { ObjectView, StoreView } from '../../events';
import { trans } from '../../i18n';
import type { ObjectRow } from '../../model/queries';

/** A line of code, and what it frees. */
export interface Release {
  code: string;
  size: number;
  count: number;
}

const RELEASES = 3;
/** Less than this share of what is stored is not worth a line. */
const WORTH = 0.05;
const LEAST = 1e6;

/** The lines that would free most, each once. */
export function releases(rows: readonly ObjectRow[], all: number): Release[] {
  const found = new Map<string, Release>();
  for (const row of rows) {
    if (row.release !== '') {
      const known = found.get(row.release) ?? { code: row.release, size: 0, count: 0 };
      found.set(row.release, {
        ...known,
        size: known.size + row.size,
        count: known.count + 1
      });
    }
  }
  return [...found.values()]
    .filter(release => release.size >= Math.max(LEAST, all * WORTH))
    .sort((a, b) => b.size - a.size)
    .slice(0, RELEASES);
}

/** What the events alone tell of an object, where nobody can be asked. */
export function fromEvent(object: ObjectView): ObjectRow {
  return {
    id: object.id,
    size: object.size,
    state: 'READY',
    place: object.stored ? 'memory' : 'node',
    type: '',
    creator: object.creator,
    origin: object.origin,
    file: '',
    line: 0,
    made: 0,
    holders: [],
    holders_count: object.holders,
    mapped: [],
    pins: 0,
    used_by: [],
    variables: [],
    why: trans._n('%1 process holds it.', '%1 processes hold it.', object.holders),
    release: ''
  };
}

export function placeText(row: Pick<ObjectRow, 'place' | 'state'>): string {
  if (row.state === 'RESTORING') {
    return trans.__('coming back');
  }
  switch (row.place) {
    case 'mapped':
      return trans.__('in use');
    case 'memory':
      return trans.__('memory');
    case 'disk':
      return trans.__('disk');
    case 'node':
      return trans.__('runtime');
    default:
      return row.state === 'FAILED' ? trans.__('failed') : row.place;
  }
}

/** File and line of what no cell is known of; a cell's file has a name that tells nobody anything. */
export function placeInCode(row: Pick<ObjectRow, 'file' | 'line'>): string {
  const file = /[/\\]ipykernel_\d+[/\\]/.test(row.file)
    ? ''
    : (row.file.split('/').pop() ?? '');
  if (row.line <= 0) {
    return file;
  }
  return file === '' ? trans.__('line %1', row.line) : trans.__('%1, line %2', file, row.line);
}

/** `code` in sentences stands in backquotes: plain text has no use for them. */
export function plain(text: string): string {
  return text.replace(/`/g, '');
}

const PACE = 2; // seconds between two questions, while something changes

export interface Round {
  time: number;
  sign: string;
  /** Ask once more: drivers are asked meanwhile, and the next answer has what they said. */
  again: boolean;
}

/**
 * When the objects are to be asked for again: once something changed, and once after that, though
 * not more often than every other second. Gives `last` itself until then.
 */
export function nextRound(last: Round | null, now: StoreView): Round {
  const sign = [now.used, now.pinned, now.spilled, now.objects, now.restore_bytes].join(' ');
  const same = last !== null && sign === last.sign;
  if (last !== null && now.time >= last.time) {
    if ((same && !last.again) || now.time < last.time + PACE) {
      return last;
    }
  }
  return { time: now.time, sign, again: !same };
}
