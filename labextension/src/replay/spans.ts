/**
 * All attempts of a recording that ended, as columns in the order of their ends: what had ended at a
 * moment is then the beginning of them. Records are those of `runtime/fanlight/core/timeline.py`.
 */
import { base64, hex } from '../model/bytes';
import type { Part, RecordingFile } from './file';

const ID = 24; // bytes
const FAILED = 1; // a flag

/** Name, kind, and the cell that it belongs to. */
export type Name = [string, string, string];

interface Page {
  record: number;
  names: Record<string, Name>;
  lanes: Record<string, unknown[]>;
  clients?: Record<string, string>;
}

export class Spans {
  readonly count: number;
  readonly group: Uint32Array;
  readonly worker: Uint32Array;
  readonly pid: Uint32Array;
  readonly attempt: Uint16Array;
  readonly failed: Uint8Array;
  readonly submitted: Float64Array;
  readonly start: Float64Array;
  readonly end: Float64Array;
  /** By the task's id: its last attempt. */
  private byId: Map<string, number> | null = null;

  constructor(
    private readonly records: Uint8Array,
    readonly record: number,
    readonly names: Record<string, Name>,
    readonly lanes: Record<string, unknown[]>,
    readonly clients: Record<string, string>
  ) {
    const count = Math.floor(records.length / Math.max(record, 1));
    const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
    this.count = count;
    this.group = new Uint32Array(count);
    this.worker = new Uint32Array(count);
    this.pid = new Uint32Array(count);
    this.attempt = new Uint16Array(count);
    this.failed = new Uint8Array(count);
    this.submitted = new Float64Array(count);
    this.start = new Float64Array(count);
    this.end = new Float64Array(count);
    for (let i = 0; i < count; i++) {
      const at = i * record;
      this.group[i] = view.getUint32(at + 24, true);
      this.worker[i] = view.getUint32(at + 28, true);
      this.pid[i] = view.getUint32(at + 32, true);
      this.attempt[i] = view.getUint16(at + 36, true);
      this.failed[i] = view.getUint16(at + 38, true) & FAILED;
      const start = view.getFloat64(at + 40, true);
      this.start[i] = start;
      this.end[i] = start + view.getFloat32(at + 48, true);
      this.submitted[i] = start - Math.max(0, view.getFloat32(at + 60, true));
    }
  }

  /** How many had ended at `time`. */
  endedBy(time: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.end[middle] <= time) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  /** The packed records from number `first` to `last`. */
  slice(first: number, last: number): Uint8Array {
    return this.records.subarray(first * this.record, last * this.record);
  }

  id(i: number): string {
    return hex(this.idBytes(i));
  }

  idBytes(i: number): Uint8Array {
    return this.records.subarray(i * this.record, i * this.record + ID);
  }

  /** The end of the id of the task whose result was the last argument to come. */
  gate(i: number): string {
    const at = i * this.record + 68;
    return this.record >= 80 ? hex(this.records.subarray(at, at + 12)) : '0'.repeat(24);
  }

  /** The last attempt of a task; -1 if it has none. */
  find(task: string): number {
    if (this.byId === null) {
      this.byId = new Map();
      for (let i = 0; i < this.count; i++) {
        this.byId.set(this.id(i), i);
      }
    }
    return this.byId.get(task) ?? -1;
  }

  attemptsOf(task: string): number[] {
    const found: number[] = [];
    if (this.find(task) >= 0) {
      for (let i = 0; i < this.count; i++) {
        if (this.id(i) === task) {
          found.push(i);
        }
      }
    }
    return found;
  }

  /** Seconds: the whole, reading arguments, storing results; and the bytes of the results. */
  times(i: number): { duration: number; reading: number; storing: number; size: number } {
    const { buffer, byteOffset, byteLength } = this.records;
    const view = new DataView(buffer, byteOffset, byteLength);
    const at = i * this.record;
    return {
      duration: view.getFloat32(at + 48, true),
      reading: view.getFloat32(at + 52, true),
      storing: view.getFloat32(at + 56, true),
      size: view.getFloat32(at + 64, true)
    };
  }
}

/** Reads the timeline of a recording. What is damaged is left out: the rest is worth having. */
export async function readSpans(file: RecordingFile): Promise<Spans> {
  const pages: Uint8Array[] = [];
  const names: Record<string, Name> = {};
  const lanes: Record<string, unknown[]> = {};
  const clients: Record<string, string> = {};
  let record = 0;
  for (const part of file.of('spans')) {
    const page = await readPage(file, part);
    if (page === null || (record && page.record !== record)) {
      continue;
    }
    record = page.record;
    Object.assign(names, page.names);
    Object.assign(lanes, page.lanes);
    Object.assign(clients, page.clients ?? {});
    pages.push(page.records);
  }
  return new Spans(sorted(pages, record), record, names, lanes, clients);
}

async function readPage(
  file: RecordingFile,
  part: Part
): Promise<(Page & { records: Uint8Array }) | null> {
  try {
    const body = await file.body(part);
    const line = body.indexOf(10);
    const page = JSON.parse(new TextDecoder().decode(body.subarray(0, line))) as Page;
    const records = body.subarray(line + 1);
    return page.record >= 68 ? { ...page, records } : null;
  } catch {
    return null;
  }
}

/** The records of all pages, those that ended first in front. */
function sorted(pages: readonly Uint8Array[], record: number): Uint8Array {
  const all = new Uint8Array(pages.reduce((sum, page) => sum + page.length, 0));
  let filled = 0;
  for (const page of pages) {
    all.set(page, filled);
    filled += page.length;
  }
  if (!record) {
    return all;
  }
  const view = new DataView(all.buffer);
  const count = Math.floor(all.length / record);
  const ends = new Float64Array(count);
  const order = new Uint32Array(count);
  let inOrder = true;
  for (let i = 0; i < count; i++) {
    ends[i] = view.getFloat64(i * record + 40, true) + view.getFloat32(i * record + 48, true);
    order[i] = i;
    inOrder &&= i === 0 || ends[i] >= ends[i - 1];
  }
  if (inOrder) {
    return all;
  }
  order.sort((a, b) => ends[a] - ends[b] || a - b);
  const result = new Uint8Array(count * record);
  order.forEach((from, to) => {
    result.set(all.subarray(from * record, (from + 1) * record), to * record);
  });
  return result;
}

/** The little-endian bytes of a column. */
export function packed(column: Uint8Array | Uint16Array | Uint32Array | Float64Array): string {
  return base64(new Uint8Array(column.buffer, column.byteOffset, column.byteLength));
}
