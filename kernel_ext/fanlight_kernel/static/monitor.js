/*
 * The cell monitor: draws `state` (made by fanlight_kernel.progress.as_state) and has one button.
 * Plain DOM, no dependency. The widget's own comm only brings state; a press goes out on a comm of
 * its own, which JupyterLab runs on a subshell, so that it arrives while the kernel is busy.
 */

function node(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

/** Opens the way back early: the subshell takes a moment to start. */
class Uplink {
  constructor(model) {
    this.model = model;
    this.comm = null;
    this.opened = null;
    const kernel = model.widget_manager && model.widget_manager.kernel;
    this.kernel = kernel || null;
    if (kernel && typeof kernel.createComm === 'function') {
      this.opened = this.open(kernel).catch(() => null);
    }
  }

  async open(kernel) {
    await kernel.info;
    if (!kernel.supportsSubshells) {
      return null;
    }
    const comm = kernel.createComm(this.model.get('target'));
    await comm.subshellStarted;
    comm.open({ type: 'hello' });
    this.comm = comm;
    return comm;
  }

  async send(message) {
    const comm = await this.opened;
    if (comm && !comm.isDisposed) {
      comm.send(message);
    } else if (this.kernel && this.kernel.status === 'busy') {
      // No subshell: a message would wait for the cell. An interrupt does what the button says.
      await this.kernel.interrupt();
    } else {
      this.model.send(message);
    }
  }

  close() {
    if (this.comm && !this.comm.isDisposed) {
      this.comm.dispose();
    }
  }
}

const SEGMENTS = ['done', 'failed', 'cancelled', 'running'];

function drawBar(bar, row) {
  const total = Math.max(1, row.total);
  SEGMENTS.forEach((name, index) => {
    bar.children[index].style.width = `${(100 * row[name]) / total}%`;
  });
  bar.setAttribute('aria-valuenow', String(row.done + row.failed + row.cancelled));
  bar.setAttribute('aria-valuemax', String(row.total));
}

function words(row) {
  const parts = [`${row.done + row.failed + row.cancelled}/${row.total}`];
  if (row.running) {
    parts.push(`${row.running} running`);
  }
  if (row.failed) {
    parts.push(`${row.failed} failed`);
  }
  if (row.cancelled) {
    parts.push(`${row.cancelled} cancelled`);
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
  return { line, bar, count };
}

function render({ model, el }) {
  const root = node('div', 'fanlight-monitor');
  const head = node('div', 'fl-head');
  const dot = node('span', 'fl-dot');
  dot.setAttribute('aria-hidden', 'true');
  const text = node('span', 'fl-text');
  const button = node('button', 'fl-cancel', 'Cancel');
  button.type = 'button';
  const body = node('div', 'fl-rows');
  head.append(dot, text, button);
  root.append(head, body);
  el.append(root);

  const uplink = new Uplink(model);
  const rows = new Map();
  let pressed = false;

  button.addEventListener('click', () => {
    pressed = true;
    button.textContent = 'Cancelling…';
    button.title = 'Press again to stop it at once';
    void uplink.send({ type: 'cancel', origin: model.get('origin') });
  });

  const draw = () => {
    const state = model.get('state');
    if (!state || !state.rows) {
      return;
    }
    const busy = state.unfinished > 0;
    root.classList.toggle('fl-over', !busy);
    root.classList.toggle('fl-bad', state.failed > 0);
    const ended = state.total - state.unfinished;
    text.textContent = busy
      ? [`${ended} of ${state.total} tasks`, state.elapsed, state.remaining].filter(Boolean).join(', ')
      : state.summary;
    button.hidden = !busy;
    if (!pressed && state.cancelling) {
      button.textContent = 'Cancelling…';
    }
    state.rows.forEach(row => {
      let drawn = rows.get(row.name);
      if (!drawn) {
        drawn = makeRow(row.name);
        rows.set(row.name, drawn);
        body.append(drawn.line);
      }
      drawBar(drawn.bar, row);
      drawn.count.textContent = words(row);
    });
    // Functions of an earlier run of the cell go away.
    const names = new Set(state.rows.map(row => row.name));
    rows.forEach((drawn, name) => {
      if (!names.has(name)) {
        drawn.line.remove();
        rows.delete(name);
      }
    });
  };

  model.on('change:state', draw);
  draw();
  return () => {
    model.off('change:state', draw);
    uplink.close();
  };
}

export default { render };
