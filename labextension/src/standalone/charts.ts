/**
 * The part of the bundle that is loaded on demand (charts.js: BokehJS above all). A page, a blob and
 * a saved file have no address to load it from, so each host says where its text is.
 */
import { trans } from '../i18n';
import { unbase64 } from '../model/bytes';

/** Gives the text of charts.js. */
export type ChartScript = () => Promise<string>;

/** The bundler puts its own functions in the place of these. */
declare let __webpack_chunk_load__: (id: string) => Promise<unknown>;
// eslint-disable-next-line @typescript-eslint/no-unused-vars -- the bundler reads it
declare let __webpack_get_script_filename__: (id: string) => string;

/** The id of an element that holds charts.js, compressed with gzip, as base64. */
export const EMBEDDED = 'fanlight-charts';

let script: ChartScript = embedded;
let address = '';

/** Where charts.js comes from, until somebody says otherwise: from the page itself. */
export function takeChartsFrom(where: ChartScript): void {
  script = where;
}

async function embedded(): Promise<string> {
  const text = document.getElementById(EMBEDDED)?.textContent?.trim();
  if (!text) {
    throw new Error(trans.__('this page was made without charts'));
  }
  return unzip(unbase64(text));
}

/** What gzip compressed, as text. */
export async function unzip(data: BufferSource): Promise<string> {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(stream).text();
}

/** From now on, `import()` of a module that is in charts.js first asks for its text. */
export function loadChartsByText(): void {
  const load = __webpack_chunk_load__;
  __webpack_get_script_filename__ = () => address;
  let loading: Promise<void> | null = null;
  const fetchOnce = async (): Promise<void> => {
    address = URL.createObjectURL(new Blob([await script()], { type: 'text/javascript' }));
  };
  __webpack_chunk_load__ = async id => {
    loading ??= fetchOnce();
    try {
      await loading;
      return await load(id);
    } catch (error) {
      loading = null; // the next one who asks tries again
      throw error;
    }
  };
}
