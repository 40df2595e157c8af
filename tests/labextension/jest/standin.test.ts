import { standIn } from '../../../labextension/src/standin';

const VIEW = 'application/vnd.jupyter.widget-view+json';
const live = (kernel: string) => ({
  output_type: 'display_data',
  metadata: { fanlight: { kernel } },
  data: { [VIEW]: { model_id: 'm' }, 'text/html': '<p>3 of 8</p>', 'text/plain': '3 of 8' }
});

test('a widget whose kernel is gone gives way to its HTML', () => {
  expect(standIn(live('a'), '')).toEqual({
    output_type: 'display_data',
    metadata: { fanlight: { kernel: 'a' } },
    data: { 'text/html': '<p>3 of 8</p>', 'text/plain': '3 of 8' }
  });
  expect(standIn(live('a'), 'b')?.data).not.toHaveProperty(VIEW);
});

test('what lives stays, and what is not ours', () => {
  expect(standIn(live('a'), 'a')).toBeNull();
  expect(standIn({ data: { [VIEW]: {} }, metadata: {} }, '')).toBeNull();
  expect(standIn({ data: { 'text/html': '' }, metadata: live('a').metadata }, '')).toBeNull();
  expect(standIn({}, '')).toBeNull();
});
