/**
 * Answers what sections ask, from a recording, as of the moment that is shown: with what the state
 * holds, with the timeline, and with what the recorder asked the runtime while it ran.
 */
import type { ActorView, ErrorView, TaskView, WorkerView } from '../events';
import { trans } from '../i18n';
import { base64 } from '../model/bytes';
import { workerNumber } from '../model/graph/columns';
import type { Data } from '../model/state';
import type { RecordingFile } from './file';
import {
  argumentState,
  fromSpan,
  neighbours,
  OVER,
  reasons,
  running,
  sentence
} from './moment';
import { Depths, Roll } from './rolls';
import { readSpans, type Spans } from './spans';

const PAGE = 20_000; // records of the timeline in one answer
const ROLLS = 6;

/** A question: `what` names it, and the rest is as in `model/queries.ts`. */
export type Asked = { what: string } & Record<string, unknown>;

/** One answer of the runtime to the recorder. */
interface Recorded {
  time: number;
  query: Asked;
  data: Record<string, unknown>;
}

/** A line that a task printed. */
interface LogLine {
  time: number;
  worker: string;
  task: string;
  origin: string;
  text: string;
}

export class Answers {
  private spansRead: Promise<Spans> | null = null;
  private recordedRead: Promise<Recorded[]> | null = null;
  private readonly rolls = new Map<number, Roll>();
  private depths: Depths | null = null;

  /** `last`: the tasks that the recording ends with. */
  constructor(
    private readonly file: RecordingFile,
    private readonly last: () => Promise<ReadonlyMap<string, TaskView>>
  ) {}

  spans(): Promise<Spans> {
    this.spansRead ??= readSpans(this.file);
    return this.spansRead;
  }

  /** Rejects with a sentence for people where the recording does not say. */
  async answer(query: Asked, data: Data): Promise<unknown> {
    const id = typeof query.id === 'string' ? query.id : '';
    switch (query.what) {
      case 'spans':
        return this.timeline(await this.spans(), Number(query.after ?? 0), data);
      case 'group_tasks':
        return typeof query.limit === 'number'
          ? { tasks: ofGroup(data, Number(query.group), query.limit) }
          : this.columns(Number(query.group), Number(query.after ?? 0), data);
      case 'task':
        return this.task(await this.spans(), id, data);
      case 'why':
        return this.why(id, data);
      case 'neighbours':
        return neighbours(id, Number(query.radius ?? 1), data, await this.spans());
      case 'actor':
        return this.actor(id, data);
      case 'worker':
        return this.worker(id, data);
      case 'logs':
        return logs(query, await this.recorded('logs', data.time));
      case 'errors':
      case 'objects':
        return this.newest(query, data);
      default:
        throw new Error(trans.__('A recording does not hold this.'));
    }
  }

  private timeline(spans: Spans, after: number, data: Data): object {
    const ended = spans.endedBy(data.time);
    const reset = after > ended;
    const first = reset ? 0 : after;
    const next = Math.min(first + PAGE, ended);
    const more = next < ended;
    return {
      records: base64(spans.slice(first, next)),
      record: spans.record || 80,
      next,
      reset,
      more,
      forgotten: 0,
      now: data.time,
      names: spans.names,
      running: more ? [] : running(spans, data),
      lanes: more ? {} : spans.lanes,
      clients: spans.clients
    };
  }

  private async columns(group: number, after: number, data: Data): Promise<object> {
    const spans = await this.spans();
    const last = await this.last();
    this.depths ??= new Depths(spans, last.values());
    let roll = this.rolls.get(group);
    this.rolls.delete(group); // it is the newest then
    roll ??= new Roll(group, spans, last.values(), this.depths);
    this.rolls.set(group, roll);
    if (this.rolls.size > ROLLS) {
      const [oldest] = this.rolls.keys();
      this.rolls.delete(oldest);
    }
    const counts = Object.values(data.groups.get(group)?.counts ?? {});
    const total = counts.reduce((sum: number, n) => sum + (n ?? 0), 0);
    return roll.answer(after, data.time, data.tasks, total);
  }

  private task(spans: Spans, id: string, data: Data): object {
    const past = spans.attemptsOf(id).filter(i => spans.start[i] <= data.time);
    const i = past.at(-1);
    const task = data.tasks.get(id) ?? (i === undefined ? null : fromSpan(spans, i, data));
    if (task === null) {
      throw new Error(trans.__('The recording does not know this task at this moment.'));
    }
    const error = data.errors.find(e => e.task_id === id);
    const over = i !== undefined && spans.end[i] <= data.time;
    const times = over ? spans.times(i) : null;
    const name = (dep: string): string => data.tasks.get(dep)?.name ?? '';
    return {
      task,
      why: sentence(task, data),
      lines: reasons(task, data),
      traceback: error?.traceback ?? '',
      deps: task.deps,
      arguments: task.deps.map(dep => ({
        id: `${dep}00000000`,
        task: dep,
        name: name(dep),
        state: argumentState(data.tasks.get(dep)),
        size: 0,
        place: ''
      })),
      results: [],
      attempts: past.map(n => ({
        attempt: spans.attempt[n],
        pid: spans.pid[n],
        worker: spans.worker[n],
        started: spans.start[n],
        finished: spans.end[n] <= data.time ? spans.end[n] : 0,
        error: spans.failed[n] ? (error?.message ?? task.error) : '',
        ok: spans.failed[n] === 0
      })),
      times: times && {
        waited: Math.max(0, task.started - task.submitted),
        reading: times.reading,
        running: Math.max(0, times.duration - times.reading - times.storing),
        storing: times.storing,
        size: times.size
      },
      origin: data.groups.get(task.group)?.origin ?? '',
      pid: i === undefined ? 0 : spans.pid[i],
      worker: i === undefined ? workerNumber(task.worker) : spans.worker[i],
      site: '',
      forgotten: !data.tasks.has(id)
    };
  }

  private why(id: string, data: Data): object {
    const task = data.tasks.get(id);
    if (task === undefined) {
      throw new Error(trans.__('A recording does not hold why this waits.'));
    }
    return { sentence: sentence(task, data), lines: reasons(task, data) };
  }

  private actor(id: string, data: Data): object {
    const actor: ActorView | undefined = data.actors.get(id);
    if (actor === undefined) {
      throw new Error(trans.__('The actor does not exist at this moment.'));
    }
    const mine = [...data.tasks.values()].filter(t => t.actor === id);
    const groups = new Set(mine.map(t => t.group));
    const all = [...data.groups.values()];
    return {
      actor,
      why: '',
      lines: [],
      origin: all.find(g => g.kind === 'actor' && groups.has(g.id))?.origin ?? '',
      resources: {},
      gpus: data.workers.find(w => w.id === actor.worker)?.gpus ?? [],
      methods: all.filter(g => g.kind === 'method' && groups.has(g.id)),
      waiting: mine.filter(t => !OVER.has(t.state)),
      detached: false
    };
  }

  private worker(id: string, data: Data): object {
    const worker: WorkerView | undefined = data.workers.find(w => w.id === id);
    const mine = [...data.tasks.values()].filter(t => t.worker === id);
    if (worker === undefined && mine.length === 0) {
      throw new Error(trans.__('The worker does not exist at this moment.'));
    }
    return {
      worker: worker ?? null,
      number: workerNumber(id),
      how: '',
      created: 0,
      ended: 0,
      recent: mine
        .filter(t => OVER.has(t.state))
        .slice(-50)
        .reverse(),
      queue: mine.filter(t => !OVER.has(t.state)),
      resources: {},
      blocked: 0
    };
  }

  /** What the runtime answered last before the moment; else what the state holds. */
  private async newest(query: Asked, data: Data): Promise<unknown> {
    const found = (await this.recorded(query.what, data.time)).at(-1);
    if (query.what === 'errors') {
      return causes(data.errors);
    }
    if (found === undefined) {
      throw new Error(
        trans.__('The recording holds no details of objects: only their names and sizes.')
      );
    }
    return arranged(query, found.data);
  }

  private async recorded(what: string, time: number): Promise<Recorded[]> {
    this.recordedRead ??= readRecorded(this.file);
    return (await this.recordedRead).filter(r => r.query.what === what && r.time <= time);
  }
}

async function readRecorded(file: RecordingFile): Promise<Recorded[]> {
  const all: Recorded[] = [];
  for (const part of file.of('answers')) {
    try {
      all.push(...(await file.lines<Recorded>(part)));
    } catch {
      // The rest is worth having.
    }
  }
  return all;
}

function ofGroup(data: Data, group: number, limit: number): TaskView[] {
  return [...data.tasks.values()].filter(task => task.group === group).slice(-limit);
}

/** Failures by cause: those of one function with one message are one. */
function causes(errors: readonly ErrorView[]): object {
  const found = new Map<string, { last: number; first: number; list: ErrorView[] }>();
  for (const error of errors) {
    const key = `${error.group} ${error.message}`;
    const cause = found.get(key) ?? { first: error.time, last: error.time, list: [] };
    cause.list.push(error);
    cause.first = Math.min(cause.first, error.time);
    cause.last = Math.max(cause.last, error.time);
    found.set(key, cause);
  }
  const rows = [...found].map(([id, { first, last, list }]) => {
    const error = list[list.length - 1];
    const [kind, ...rest] = error.message.split(': ');
    const places = [...error.traceback.matchAll(/File "(.+?)", line (\d+), in (\S+)/g)];
    const place = places.at(-1);
    return {
      id,
      kind: rest.length ? kind : '',
      message: rest.length ? rest.join(': ') : error.message,
      name: error.name,
      group: error.group,
      origin: error.origin,
      file: place?.[1] ?? '',
      line: Number(place?.[2] ?? 0),
      function: place?.[3] ?? '',
      count: list.length,
      first,
      last,
      tasks: list.map(e => e.task_id).slice(-20),
      traceback: error.traceback
    };
  });
  rows.sort((a, b) => b.last - a.last);
  return { causes: rows, count: errors.length };
}

/** A recorded answer in the order that is wanted now. */
function arranged(query: Asked, answer: Record<string, unknown>): object {
  const rows = Array.isArray(answer.rows)
    ? [...(answer.rows as Array<Record<string, unknown>>)]
    : [];
  const keys: Record<string, (row: Record<string, unknown>) => string | number> = {
    size: r => -Number(r.size),
    age: r => Number(r.made),
    creator: r => String(r.creator),
    type: r => String(r.type),
    holders: r => -Number(r.holders_count)
  };
  const key = keys[String(query.sort ?? 'size')] ?? keys.size;
  rows.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  });
  return { ...answer, rows: rows.slice(0, Number(query.limit ?? 50)) };
}

function logs(query: Asked, recorded: readonly Recorded[]): object {
  const all = recorded.flatMap(r =>
    Array.isArray(r.data.lines) ? (r.data.lines as LogLine[]) : []
  );
  const after = Number(query.after ?? 0);
  const reset = !(after > 0 && after <= all.length);
  const search = String(query.search ?? '').toLowerCase();
  const limit = Number(query.limit ?? 500);
  const found = (reset ? all : all.slice(after)).filter(
    line =>
      (!query.worker || line.worker === query.worker) &&
      (!query.task || line.task === query.task) &&
      (!query.cell || line.origin === query.cell) &&
      (!search || line.text.toLowerCase().includes(search))
  );
  const note = search ? trans.__('No line matches.') : trans.__('Nothing was printed.');
  return {
    lines: found.slice(-limit),
    cursor: all.length,
    reset,
    more: found.length > limit,
    note: reset && found.length === 0 ? note : ''
  };
}
