/** A page that was made by `fanlight.standalone.page`: what it holds, and who draws it. */
import { trans } from '../i18n';
import { unbase64 } from '../model/bytes';

/** What a page holds for who draws it. */
export interface Held {
  /** JSON that was given to `page`. */
  data: unknown;
  /** Bytes that were given to it. */
  blob: Uint8Array;
}

export type Draw = (host: HTMLElement, held: Held) => unknown;

const draws = new Map<string, Draw>();

/** Lets pages name this function as what draws them. */
export function drawsPages(name: string, draw: Draw): void {
  draws.set(name, draw);
}

/** Called by the page itself, at its end. */
export function open(name: string): void {
  const host = document.getElementById('fanlight-host') as HTMLElement;
  const draw = draws.get(name);
  if (draw === undefined) {
    host.textContent = trans.__('This page cannot be drawn: it has no “%1”.', name);
    return;
  }
  const text = (id: string): string => document.getElementById(id)?.textContent ?? '';
  draw(host, {
    data: JSON.parse(text('fanlight-data') || 'null'),
    blob: unbase64(text('fanlight-blob'))
  });
}
