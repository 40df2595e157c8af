/**
 * Who looks: the panel, tabs of sections, a live status bar. A browser tab in the background is as
 * good as hidden. While nobody looks the source rests, and costs nothing.
 */

/** The part of `Document` that is used. */
export interface PageLike {
  readonly hidden: boolean;
  addEventListener(type: 'visibilitychange', listener: () => void): void;
}

export class Presence {
  /** Told when somebody begins or ceases to look. */
  changed: (() => void) | null = null;
  private readonly shown = new Set<string>();

  constructor(
    private readonly watch: (who: string, visible: boolean) => void,
    private readonly page: PageLike
  ) {
    page.addEventListener('visibilitychange', () =>
      this.shown.forEach(who => this.watch(who, !this.page.hidden))
    );
  }

  set(who: string, visible: boolean): void {
    if (visible) {
      this.shown.add(who);
    } else {
      this.shown.delete(who);
    }
    this.watch(who, visible && !this.page.hidden);
    this.changed?.();
  }

  /** Whether anything shows figures, whatever the page does. */
  get any(): boolean {
    return this.shown.size > 0;
  }
}
