/** What may be asked of a runtime, or of a recording, and what may be done to a runtime. */
import type { TaskView } from '../events';

/** One fact of a reason to wait; a tree by depth. `task` is an id to go to, or "". */
export interface WhyLine {
  depth: number;
  label: string;
  text: string;
  task: string;
}

/** Why a task or an actor waits, or what it does. Names stand in backquotes. */
export interface WhyAnswer {
  sentence: string;
  lines: WhyLine[];
}

/** A runtime's answer about one task. */
export interface TaskAnswer {
  task: TaskView | null;
  why: string;
  lines?: WhyLine[];
  traceback: string;
  deps: unknown[];
}

export type Query =
  | { what: 'task'; id: string }
  | { what: 'why'; id: string }
  | { what: 'group_tasks'; group: number; limit: number };

export type Command =
  | { action: 'cancel'; task: string; force?: boolean }
  | { action: 'kill_actor'; actor: string }
  | { action: 'shutdown' };
