/*
 * A card: one thing in two lines (made by fanlight_kernel.widgets.cards.Card.as_state), and for many things
 * a bar. Plain DOM, no dependency, nothing to press.
 */

const SEGMENTS = ['done', 'failed', 'cancelled', 'running'];

function node(tag, className) {
  const made = document.createElement(tag);
  made.className = className;
  return made;
}

function say(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

function render({ model, el }) {
  const root = node('div', 'fanlight-card');
  root.setAttribute('role', 'group');
  const head = node('div', 'fl-head');
  const dot = node('span', 'fl-dot');
  dot.setAttribute('aria-hidden', 'true');
  const title = node('span', 'fl-title');
  const state = node('span', 'fl-state');
  state.setAttribute('role', 'status');
  state.setAttribute('aria-live', 'polite');
  const facts = node('span', 'fl-facts');
  const identity = node('code', 'fl-identity');
  const bar = node('div', 'fl-bar');
  bar.setAttribute('role', 'progressbar');
  bar.setAttribute('aria-valuemin', '0');
  SEGMENTS.forEach(name => bar.append(node('span', `fl-${name}`)));
  const lines = node('div', 'fl-lines');
  head.append(dot, title, state, facts, identity);
  root.append(head, bar, lines);
  el.append(root);

  const draw = () => {
    const card = model.get('state');
    if (!card || !card.title) {
      return;
    }
    root.dataset.tone = card.tone;
    root.classList.toggle('fl-final', card.final);
    root.setAttribute('aria-label', card.title);
    say(title, card.title);
    // Of many things the number changes all the time: a screen reader hears of the end only.
    state.setAttribute('aria-live', card.counts && !card.final ? 'off' : 'polite');
    say(state, card.state);
    say(facts, card.facts.join(' · '));
    say(identity, card.short);
    identity.title = card.identity;
    bar.hidden = !card.counts;
    if (card.counts) {
      const { counts } = card;
      SEGMENTS.forEach((name, index) => {
        bar.children[index].style.width = `${(100 * counts[name]) / Math.max(1, counts.total)}%`;
      });
      bar.setAttribute('aria-label', card.title);
      bar.setAttribute('aria-valuenow', String(counts.done));
      bar.setAttribute('aria-valuemax', String(counts.total));
    }
    while (lines.children.length > card.lines.length) {
      lines.lastChild.remove();
    }
    card.lines.forEach((line, index) => {
      if (index === lines.children.length) {
        lines.append(node('div', 'fl-line'));
      }
      say(lines.children[index], line);
    });
  };

  model.on('change:state', draw);
  draw();
  return () => model.off('change:state', draw);
}

export default { render };
