/** Lines of output that a view holds: bounded, with who wrote them said once. Pure. */
import type { LogLine, LogsAnswer } from '../answers';

/** Lines that a view holds; the oldest go first. */
export const LINES_HELD = 20_000;

export interface Held {
  lines: readonly LogLine[];
  cursor: number;
  /** Lines that were held once, or were never told. */
  older: boolean;
  note: string;
}

export const NO_LINES: Held = { lines: [], cursor: 0, older: false, note: '' };

/** What is held after an answer to a question with `cursor`. */
export function taken(held: Held, answer: LogsAnswer): Held {
  const again = answer.reset || held.cursor === 0;
  if (!again && answer.lines.length === 0) {
    return held.cursor === answer.cursor && held.note === answer.note
      ? held
      : { ...held, cursor: answer.cursor, note: answer.note };
  }
  const lines = again ? answer.lines : [...held.lines, ...answer.lines];
  const surplus = lines.length - LINES_HELD;
  return {
    lines: surplus > 0 ? lines.slice(surplus) : lines,
    cursor: answer.cursor,
    older: (again ? answer.more : held.older) || surplus > 0,
    note: answer.note
  };
}

/** Whether a line begins what another task, worker or stream wrote. */
export function begins(lines: readonly LogLine[], i: number): boolean {
  const line = lines[i]!;
  const before = lines[i - 1];
  return (
    before === undefined ||
    before.worker !== line.worker ||
    before.task !== line.task ||
    before.stream !== line.stream
  );
}
