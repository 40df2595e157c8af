/** What the panel's home in JupyterLab decides: who looks, what settings mean, what the menu names. */
import { Presence } from '@fanlight/home/presence';
import { DEFAULTS, wishes } from '@fanlight/home/settings';
import { CODE, startRuntime } from '@fanlight/home/start';
import { SECTIONS } from '@fanlight/sections';
import SCHEMA from '../../../labextension/schema/panel.json';

function page(hidden = false) {
  let told = (): void => undefined;
  const made = {
    hidden,
    addEventListener: (_: string, listener: () => void) => (told = listener),
    set(next: boolean) {
      made.hidden = next;
      told();
    }
  };
  return made;
}

test('a page in the background hides whatever it shows', () => {
  const calls: Array<[string, boolean]> = [];
  const document = page();
  const presence = new Presence((who, visible) => calls.push([who, visible]), document);
  presence.set('panel', true);
  presence.set('tab', true);
  presence.set('tab', false);
  document.set(true);
  document.set(false);
  expect(calls).toEqual([
    ['panel', true],
    ['tab', true],
    ['tab', false],
    ['panel', false],
    ['panel', true]
  ]);
  expect(presence.any).toBe(true);
});

test('what is opened in a background page waits until somebody looks', () => {
  const calls: Array<[string, boolean]> = [];
  const document = page(true);
  const presence = new Presence((who, visible) => calls.push([who, visible]), document);
  presence.set('panel', true);
  document.set(false);
  expect(calls).toEqual([
    ['panel', false],
    ['panel', true]
  ]);
});

test('settings written by hand do no harm', () => {
  expect(wishes(() => undefined)).toEqual(DEFAULTS);
  expect(wishes(() => 'nonsense')).toEqual(DEFAULTS);
  const some: Record<string, unknown> = { statusBar: false, hiddenSections: ['gpus', 3] };
  expect(wishes(key => some[key])).toEqual({
    ...DEFAULTS,
    statusBar: false,
    hiddenSections: ['gpus']
  });
});

test("the schema's defaults are those of the code", () => {
  const properties = SCHEMA.properties as Record<string, { default: unknown }>;
  const defaults = Object.fromEntries(
    Object.entries(properties).map(([key, { default: value }]) => [key, value])
  );
  expect(defaults).toMatchObject({ ...DEFAULTS });
});

test('menu and settings name every section', () => {
  const items = SCHEMA['jupyter.lab.menus'].main[0]!.items;
  const menu = items.flatMap(i => i.submenu?.items ?? []).map(i => i.args.section);
  for (const { id } of SECTIONS) {
    expect(menu).toContain(id);
  }
  expect(SCHEMA.properties.hiddenSections.items.enum).toEqual(menu);
});

type Kernel = Parameters<typeof startRuntime>[0];

function kernel(content: object, codes: string[] = []): Kernel {
  const requestExecute = ({ code }: { code: string }) => {
    codes.push(code);
    return { done: Promise.resolve({ content }) };
  };
  return { requestExecute } as unknown as Kernel;
}

test('a runtime is started in the kernel, and what goes wrong is said', async () => {
  const codes: string[] = [];
  await startRuntime(kernel({ status: 'ok' }, codes));
  expect(codes).toEqual([CODE]);
  await expect(startRuntime(null)).rejects.toThrow('has no kernel');
  await expect(startRuntime(kernel({ status: 'aborted' }))).rejects.toThrow('interrupted');
  const missing = { status: 'error', ename: 'ModuleNotFoundError', evalue: 'x', traceback: [] };
  await expect(startRuntime(kernel(missing))).rejects.toThrow('%pip install fanlight');
  const other = { status: 'error', ename: 'OSError', evalue: 'disk full', traceback: [] };
  await expect(startRuntime(kernel(other))).rejects.toThrow('OSError: disk full');
});
