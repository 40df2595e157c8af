/** Bytes as text, the way the runtime writes them: ids are hexadecimal, columns base64. */

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    text += (byte < 16 ? '0' : '') + byte.toString(16);
  }
  return text;
}

/** All bytes of a hexadecimal text, or `length` of them; what is not there is zero. */
export function unhex(text: string, length = text.length >> 1): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let k = 0; k < length && 2 * k + 2 <= text.length; k += 1) {
    bytes[k] = parseInt(text.slice(2 * k, 2 * k + 2), 16) || 0;
  }
  return bytes;
}

export function base64(bytes: Uint8Array): string {
  const pieces: string[] = [];
  for (let i = 0; i < bytes.length; i += 0x8000) {
    pieces.push(String.fromCharCode(...bytes.subarray(i, i + 0x8000)));
  }
  return btoa(pieces.join(''));
}

export function unbase64(text: string): Uint8Array<ArrayBuffer> {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) {
    bytes[i] = raw.charCodeAt(i);
  }
  return bytes;
}
