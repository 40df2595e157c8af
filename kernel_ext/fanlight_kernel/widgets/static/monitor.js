/*
 * The cell monitor: draws `state` (made by fanlight_kernel.widgets.wording.as_state) and has one button.
 * Plain DOM, no dependency. The widget's own comm only brings state; a press goes out on a comm of
 * its own, which JupyterLab runs on a subshell, so that it arrives while the kernel is busy.
 */

const SILENCE = 10_000; // milliseconds without news, while work is under way, that are worth a word
const PATIENCE = 3_000; // milliseconds after which a press that nobody answered gets a hint
const GONE = ['dead', 'terminating', 'restarting', 'autorestarting'];
const SEGMENTS = ['done', 'failed', 'cancelled', 'running'];

function node(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

/** Sets text only where it differs, so that selections stay and nothing is laid out again. */
function say(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/**
 * The way back. It is opened when somebody reaches for the button, since the subshell takes a moment
 * to start; not earlier, since its messages make the front end believe that the kernel is idle.
 */
class Uplink {
  constructor(model) {
    this.model = model;
    this.comm = null;
    this.opened = null;
    this.closed = false;
    const kernel = model.widget_manager && model.widget_manager.kernel;
    this.kernel = kernel || null;
  }

  reach() {
    const { kernel } = this;
    if (this.opened === null && kernel && typeof kernel.createComm === 'function') {
      this.opened = this.open(kernel).catch(() => null);
    }
    return this.opened;
  }

  async open(kernel) {
    await kernel.info;
    if (!kernel.supportsSubshells) {
      return null;
    }
    const comm = kernel.createComm(this.model.get('target'));
    await comm.subshellStarted;
    if (this.closed) {
      comm.dispose();
      return null;
    }
    comm.open({ type: 'hello' });
    this.comm = comm;
    return comm;
  }

  async send(message) {
    const comm = await this.reach();
    if (comm && !comm.isDisposed) {
      comm.send(message);
    } else if (this.kernel && this.kernel.status === 'busy') {
      // No subshell: a message would wait for the cell. An interrupt does what the button says.
      await this.kernel.interrupt();
    } else {
      this.model.send(message);
    }
  }

  /** Whether the front end knows that the kernel is gone; not all of them tell. */
  gone() {
    return Boolean(this.kernel && (this.kernel.isDisposed || GONE.includes(this.kernel.status)));
  }

  close() {
    this.closed = true;
    if (this.comm && !this.comm.isDisposed) {
      this.comm.dispose();
    }
  }
}

function ended(row) {
  return row.done + row.failed + row.cancelled;
}

function words(row) {
  const parts = [`${ended(row)}/${row.total}`];
  for (const [count, word] of [
    [row.running, 'running'],
    [row.failed, 'failed'],
    [row.cancelled, 'cancelled']
  ]) {
    if (count) {
      parts.push(`${count} ${word}`);
    }
  }
  return parts.join(' · ');
}

function makeRow(name) {
  const line = node('div', 'fl-row');
  const label = node('span', 'fl-name', name);
  label.title = name;
  const bar = node('div', 'fl-bar');
  bar.setAttribute('role', 'progressbar');
  bar.setAttribute('aria-valuemin', '0');
  bar.setAttribute('aria-label', name);
  SEGMENTS.forEach(segment => bar.append(node('span', `fl-${segment}`)));
  const count = node('span', 'fl-count');
  line.append(label, bar, count);
  return { line, label, bar, count };
}

function drawRow({ label, bar, count }, row) {
  const total = Math.max(1, row.total);
  SEGMENTS.forEach((name, index) => {
    bar.children[index].style.width = `${(100 * row[name]) / total}%`;
  });
  bar.setAttribute('aria-valuenow', String(ended(row)));
  bar.setAttribute('aria-valuemax', String(row.total));
  bar.setAttribute('aria-valuetext', words(row));
  if (label.title !== row.name) {
    label.title = row.name;
    bar.setAttribute('aria-label', row.name);
  }
  say(label, row.name);
  say(count, words(row));
}

/** As many lines as there are items, each drawn in place. */
function drawList(parent, made, items, make, draw) {
  while (made.length > items.length) {
    made.pop().line.remove();
  }
  items.forEach((item, index) => {
    if (index === made.length) {
      made.push(make(item));
      parent.append(made[index].line);
    }
    draw(made[index], item);
  });
}

function makeFailure() {
  const line = node('li', 'fl-failure');
  const name = node('span', 'fl-name');
  const message = node('span', 'fl-message');
  line.append(name, message);
  return { line, name, message };
}

function drawFailure({ name, message }, [which, text, count]) {
  say(name, which);
  say(message, count > 1 ? `${text} (${count} times)` : text);
}

/** The few moments at which a screen reader says something. */
function announcement(state) {
  if (state.over) {
    return state.summary;
  }
  if (state.cancelling) {
    return 'Cancelling';
  }
  const what = `${state.label}${state.total === 1 ? '' : 's'}`;
  return state.failed ? `Some ${what} failed` : `${what} running`;
}

function render({ model, el }) {
  const root = node('div', 'fanlight-monitor');
  root.setAttribute('role', 'group');
  root.setAttribute('data-lm-suppress-shortcuts', 'true'); // Enter and Space are the button's
  const head = node('div', 'fl-head');
  const dot = node('span', 'fl-dot');
  dot.setAttribute('aria-hidden', 'true');
  const text = node('span', 'fl-text');
  const more = node('span', 'fl-more');
  const button = node('button', 'fl-cancel', 'Cancel');
  button.type = 'button';
  const body = node('div', 'fl-rows');
  const failures = node('ul', 'fl-failures');
  const live = node('span', 'fl-spoken');
  live.setAttribute('role', 'status');
  live.setAttribute('aria-live', 'polite');
  head.append(dot, text, more, button);
  root.append(head, body, failures, live);
  el.append(root);

  const uplink = new Uplink(model);
  const rows = [];
  const failed = [];
  let heard = Date.now();
  let pressed = 0;

  button.addEventListener('pointerenter', () => void uplink.reach());
  button.addEventListener('focus', () => void uplink.reach());
  button.addEventListener('click', () => {
    pressed = Date.now();
    say(button, 'Cancelling…');
    button.title = 'Press again to stop it at once';
    void uplink.send({ type: 'cancel', origin: model.get('origin') });
  });

  const detail = state => {
    const silent = Date.now() - heard;
    if (state.over || !state.unfinished) {
      return (state.notes || []).join(' · ');
    }
    if (uplink.gone()) {
      return 'The kernel has ended.';
    }
    if (silent > SILENCE) {
      return `No news from the kernel for ${Math.round(silent / 1000)} s.`;
    }
    if (pressed && !state.cancelling && Date.now() - pressed > PATIENCE) {
      return 'The kernel is busy: interrupt it.';
    }
    return state.why || [state.remaining, ...(state.notes || [])].filter(Boolean).join(' · ');
  };

  const draw = () => {
    const state = model.get('state');
    if (!state || !state.rows) {
      return;
    }
    const lost = !state.over && state.unfinished > 0 && uplink.gone();
    root.classList.toggle('fl-over', state.over || lost);
    root.classList.toggle('fl-idle', !state.unfinished);
    root.classList.toggle('fl-silent', !state.over && Date.now() - heard > SILENCE);
    root.classList.toggle('fl-bad', state.failed > 0 || lost || Boolean(state.ended));
    root.setAttribute('aria-label', `Progress of ${state.title}`);
    const count = `${state.total - state.unfinished} of ${state.total} ${state.label}${
      state.total === 1 ? '' : 's'
    }`;
    say(text, state.over ? state.summary : `${count}, ${state.elapsed}`);
    const said = detail(state);
    say(more, said);
    more.title = said;
    const idle = state.over || lost || !state.unfinished;
    button.classList.toggle('fl-away', idle);
    button.disabled = idle;
    button.setAttribute('aria-label', `Cancel ${state.title}`);
    if (idle) {
      pressed = 0;
    } else if (state.cancelling || pressed) {
      say(button, 'Cancelling…');
    } else {
      say(button, 'Cancel');
    }
    drawList(body, rows, state.rows, row => makeRow(row.name), drawRow);
    drawList(failures, failed, state.failures || [], makeFailure, drawFailure);
    say(live, announcement(state));
  };

  const changed = () => {
    heard = Date.now();
    draw();
  };
  model.on('change:state', changed);
  draw();
  const clock = setInterval(() => {
    const state = model.get('state');
    if (state && !state.over && state.unfinished > 0) {
      draw();
    }
  }, 1000);
  return () => {
    clearInterval(clock);
    model.off('change:state', changed);
    uplink.close();
  };
}

export default { render };
