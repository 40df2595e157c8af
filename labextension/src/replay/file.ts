/**
 * Reads a recording (`.fanlight`): looks through its parts, and unpacks those that are asked for.
 *
 * The format is described in `runtime/fanlight/observe/recording.py`. No DOM in here.
 */
import { trans } from '../i18n';

const MAGIC = [
  0x89, 0x46, 0x41, 0x4e, 0x4c, 0x49, 0x47, 0x48, 0x54, 0x0d, 0x0a, 0x1a, 0x0a
] as const;
export const FORMAT = 1;
const HEAD = 16;
const PART_HEAD = 20;
const TAG = 0x54524150; // "PART", little-endian
const META_LIMIT = 1 << 20;
/** Bytes of one unpacked part: more is refused, whoever wrote it. */
export const PART_LIMIT = 64 << 20;

/** Tasks by state at the end of a part. */
export type Counts = Readonly<Record<string, number>>;

export interface Part {
  readonly kind: string;
  readonly t0: number;
  readonly t1: number;
  readonly counts: Counts | null;
  /** Of a keyframe: it says again what the deltas before it said. */
  readonly again: boolean;
  readonly offset: number;
  readonly packed: number;
  readonly size: number;
}

/** Why a file cannot be played, as a sentence for people. */
export class RecordingError extends Error {}

export class RecordingFile {
  /** Whole parts, in the order in which they were written. */
  readonly parts: readonly Part[];
  /** Bytes at the end that are of no use: the recorder was killed, or the file was cut. */
  readonly lost: number;

  constructor(
    private readonly bytes: Uint8Array,
    readonly name: string
  ) {
    checkHead(bytes, name);
    const parts = scan(bytes);
    this.parts = parts;
    const last = parts.at(-1);
    this.lost = bytes.length - (last ? last.offset + last.packed : HEAD);
    if (!parts.some(part => part.kind === 'key')) {
      throw new RecordingError(
        trans.__(
          '%1 holds nothing to show: it ends before the first event, or is damaged.',
          name
        )
      );
    }
  }

  /** Whether the recorder ended in order. */
  get whole(): boolean {
    return this.lost === 0 && this.parts.some(part => part.kind === 'end');
  }

  of(kind: string): readonly Part[] {
    return this.parts.filter(part => part.kind === kind);
  }

  /** The unpacked body. Rejects with a RecordingError where it is not what it says. */
  async body(part: Part): Promise<Uint8Array> {
    const packed = this.bytes.subarray(part.offset, part.offset + part.packed);
    const stream = new Blob([packed as Uint8Array<ArrayBuffer>])
      .stream()
      .pipeThrough(new DecompressionStream('deflate'));
    const reader = stream.getReader();
    const body = new Uint8Array(part.size);
    let filled = 0;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) {
          break;
        }
        if (filled + value.length > part.size) {
          void reader.cancel().catch(() => undefined);
          break;
        }
        body.set(value, filled);
        filled += value.length;
      }
      if (filled === part.size) {
        return body;
      }
    } catch {
      // Told below, with the file's name.
    }
    throw new RecordingError(trans.__('%1 is damaged.', this.name));
  }

  async text(part: Part): Promise<string> {
    return new TextDecoder().decode(await this.body(part));
  }

  /** The JSON values of a part, one on each line. */
  async lines<T>(part: Part): Promise<T[]> {
    const text = await this.text(part);
    try {
      return text
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as T);
    } catch {
      throw new RecordingError(trans.__('%1 is damaged.', this.name));
    }
  }
}

/** Throws a RecordingError unless a file that begins so can be read. */
export function checkHead(bytes: Uint8Array, name: string): void {
  if (bytes.length === 0) {
    throw new RecordingError(trans.__('%1 is empty.', name));
  }
  if (MAGIC.some((byte, n) => n < bytes.length && bytes[n] !== byte)) {
    const start = String.fromCharCode(...bytes.subarray(0, HEAD));
    throw new RecordingError(
      start.includes('FANLIGHT')
        ? trans.__(
            '%1 was changed on its way, as a text file is: copy it as a binary file.',
            name
          )
        : trans.__('%1 is not a recording of Fanlight.', name)
    );
  }
  if (bytes.length < HEAD) {
    throw new RecordingError(trans.__('%1 was cut short: there is nothing in it.', name));
  }
  const format = bytes[13] | (bytes[14] << 8);
  if (format > FORMAT) {
    throw new RecordingError(
      trans.__(
        '%1 was made by a newer Fanlight (format %2; this one reads %3): update Fanlight to open it.',
        name,
        format,
        FORMAT
      )
    );
  }
}

function scan(bytes: Uint8Array): Part[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const decoder = new TextDecoder();
  const parts: Part[] = [];
  let offset = HEAD;
  while (offset + PART_HEAD <= bytes.length && view.getUint32(offset, true) === TAG) {
    const meta = view.getUint32(offset + 4, true);
    const packed = view.getUint32(offset + 8, true);
    const size = view.getUint32(offset + 12, true);
    const body = offset + PART_HEAD + meta;
    const end = body + packed;
    if (meta > META_LIMIT || size > PART_LIMIT || end > bytes.length) {
      break;
    }
    const head = crc32(bytes.subarray(offset, offset + 16), 0);
    const check = crc32(bytes.subarray(offset + PART_HEAD, end), head);
    const note =
      check === view.getUint32(offset + 16, true)
        ? parse(decoder.decode(bytes.subarray(offset + PART_HEAD, body)))
        : null;
    if (note === null) {
      break;
    }
    parts.push({ ...note, offset: body, packed, size });
    offset = end;
  }
  return parts;
}

function parse(text: string): Pick<Part, 'kind' | 't0' | 't1' | 'counts' | 'again'> | null {
  try {
    const { kind, t0, t1, counts, again } = JSON.parse(text) as Record<string, unknown>;
    if (typeof kind !== 'string' || typeof t0 !== 'number' || typeof t1 !== 'number') {
      return null;
    }
    const known = typeof counts === 'object' && counts !== null;
    return { kind, t0, t1, counts: known ? (counts as Counts) : null, again: again === true };
  } catch {
    return null;
  }
}

const TABLE = new Uint32Array(256).map((_, n) => {
  let value = n;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return value;
});

/** CRC-32 as zlib's; goes on from `before`. */
export function crc32(bytes: Uint8Array, before: number): number {
  let value = ~before;
  for (let n = 0; n < bytes.length; n++) {
    value = TABLE[(value ^ bytes[n]) & 0xff] ^ (value >>> 8);
  }
  return ~value >>> 0;
}
