/**
 * The texts of the panel in the user's language. The plugin sets JupyterLab's bundle; without one
 * (tests, static pages, other hosts) texts stay as they are written.
 */

/** The part of JupyterLab's `TranslationBundle` that is used. */
export interface Bundle {
  __(text: string, ...values: unknown[]): string;
  _n(one: string, many: string, n: number, ...values: unknown[]): string;
}

/** "%1 of %2" with its values. */
export function filled(text: string, values: readonly unknown[]): string {
  return text.replace(/%(\d)/g, (all, digit: string) => {
    const value = values[Number(digit) - 1];
    return value === undefined ? all : String(value);
  });
}

const english: Bundle = {
  __: (text, ...values) => filled(text, values),
  _n: (one, many, n, ...values) => filled(n === 1 ? one : many, [n, ...values])
};

let bundle: Bundle = english;

/** Looks the bundle up at each call, so that modules may import it before it is set. */
export const trans: Bundle = {
  __: (text, ...values) => bundle.__(text, ...values),
  _n: (one, many, n, ...values) => bundle._n(one, many, n, ...values)
};

/** Called once by the plugin; null goes back to the texts as they are written. */
export function setBundle(next: Bundle | null): void {
  bundle = next ?? english;
}
