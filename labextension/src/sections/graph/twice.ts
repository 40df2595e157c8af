/**
 * Double clicks on things that may move or be covered after the first click, as by the details that it
 * opens: browsers count a second click on another element as a first one.
 */
const SOON = 450; // milliseconds
const NEAR = 6; // pixels

interface Click {
  clientX: number;
  clientY: number;
  timeStamp: number;
}

/** Called with a click; calls back if the next press comes soon, at the same place. */
export function onSecondClick(click: Click, twice: () => void): void {
  const { clientX: x, clientY: y, timeStamp } = click;
  const next = (press: PointerEvent): void => {
    const soon = press.timeStamp - timeStamp < SOON;
    if (soon && Math.hypot(press.clientX - x, press.clientY - y) < NEAR) {
      press.preventDefault();
      press.stopPropagation();
      swallowClick(); // what lies there now is not what was meant
      twice();
    }
  };
  document.addEventListener('pointerdown', next, { capture: true, once: true });
}

/** The click that belongs to the press under way does nothing. */
export function swallowClick(): void {
  const done = new AbortController();
  const { signal } = done;
  const stop = (event: Event): void => {
    event.stopPropagation();
    event.preventDefault();
    done.abort();
  };
  document.addEventListener('click', stop, { capture: true, signal });
  // A press that was no click has passed: the next one counts.
  document.addEventListener('pointerdown', () => done.abort(), { capture: true, signal });
}
