/** Failures grouped by their cause. Pure. */
import type { CauseView } from '../answers';
import type { ErrorView } from '../events';

export interface Frame {
  file: string;
  line: number;
  function: string;
  /** The text of that line, "" if the traceback does not show it. */
  code: string;
}

/** Failures of one function with the same kind of error at the same place. */
export type Cause = CauseView;

/** The type that a message begins with: "ValueError: x" → "ValueError". */
export function kindOf(message: string): string {
  const head = message.split('\n', 1)[0]!.split(':', 1)[0]!.trim();
  return /^[A-Za-z_][\w.]*$/.test(head) ? head.slice(head.lastIndexOf('.') + 1) : '';
}

/** A message without its kind. */
export function withoutKind(message: string): string {
  return kindOf(message) === '' ? message : message.replace(/^[^:\n]*:?\s*/, '');
}

const FRAME = /^ *File "([^"\n]+)", line (\d+), in ([^\n]+)(?:\n +(?! |File ")([^\n]*))?/gm;

/** The frames of a traceback, outermost first. */
export function framesOf(traceback: string): Frame[] {
  return [...traceback.matchAll(FRAME)].map(found => ({
    file: found[1]!,
    line: Number(found[2]),
    function: found[3]!.trim(),
    code: (found[4] ?? '').trim()
  }));
}

/** Whether a file of a traceback is a cell of a notebook. */
export function isCell(file: string): boolean {
  return /^<ipython-input-|[\\/]ipykernel_\d+[\\/]|^<cell|^Cell In/.test(file);
}

/** Where the user's own code raised: the innermost frame in a notebook, or else of all. */
export function placeOf(traceback: string): Frame | null {
  const frames = framesOf(traceback);
  return (
    [...frames].reverse().find(frame => isCell(frame.file)) ?? frames[frames.length - 1] ?? null
  );
}

/** By cause, the newest cause first. */
export function causesOf(errors: readonly ErrorView[]): Cause[] {
  const causes = new Map<string, Cause>();
  for (const error of [...errors].sort((a, b) => b.time - a.time)) {
    const kind = kindOf(error.message);
    const place = placeOf(error.traceback);
    // Without a kind the words are the cause; their numbers (a pid, an index) are not.
    const words = kind === '' ? error.message.replace(/\d+/g, '#').slice(0, 200) : '';
    const id = JSON.stringify([
      error.name,
      error.origin,
      kind,
      words,
      place?.file,
      place?.line
    ]);
    const known = causes.get(id);
    if (known) {
      known.count += 1;
      known.first = Math.min(known.first, error.time);
      known.tasks.push(error.task_id);
    } else {
      causes.set(id, {
        id,
        kind,
        message: error.message,
        name: error.name,
        group: error.group,
        origin: error.origin,
        file: place?.file ?? '',
        line: place?.line ?? 0,
        function: place?.function ?? '',
        count: 1,
        first: error.time,
        last: error.time,
        tasks: [error.task_id],
        traceback: error.traceback
      });
    }
  }
  return [...causes.values()];
}
