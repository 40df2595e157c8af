/** Why something waits, as text: the sentence, the facts by depth, and nothing becomes markup. */
import { renderToStaticMarkup } from 'react-dom/server';
import { Why } from '@fanlight/sections/why';

const sentence = '`fit` waits for its argument `load`, which has been running for 12 s.';
const lines = [
  { depth: 0, label: '`fit`', text: 'waits for its argument `load`', task: 'a' },
  { depth: 1, label: 'submitted', text: '14 s ago', task: '' },
  { depth: 1, label: '`load`', text: 'has been running for 12 s', task: 'b' }
];

test('the sentence and the facts', () => {
  const shown = renderToStaticMarkup(
    <Why title="Why it waits" sentence={sentence} lines={lines} onTask={() => undefined} />
  );
  expect(shown).toContain('<code>fit</code> waits for its argument <code>load</code>');
  expect(shown.match(/<li/g)).toHaveLength(2);
  expect(shown).toContain('14 s ago');
  expect(shown).toMatch(/<button type="button"[^>]*title="b">load<\/button>/);
});

test('without facts there is no list, and without a way to go no button', () => {
  expect(renderToStaticMarkup(<Why title="x" sentence="It runs." lines={[]} />)).not.toContain(
    '<ul'
  );
  const shown = renderToStaticMarkup(<Why title="x" sentence={sentence} lines={lines} />);
  expect(shown).not.toContain('<button');
});

test('names are text, whatever they hold', () => {
  const evil = '`<img src=x onerror=alert(1)>`';
  const line = { depth: 1, label: evil, text: evil, task: 'c' };
  const shown = renderToStaticMarkup(
    <Why title="x" sentence={evil} lines={[line, line]} onTask={() => undefined} />
  );
  expect(shown).not.toContain('<img');
  expect(shown).toContain('&lt;img');
});
