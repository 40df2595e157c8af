/**
 * Lays graphs out in one web worker, so that a large one does not hold up the page. The worker's
 * program is the text of the layout function, in a Blob: there is no file to load, so that it works in
 * every bundle and under any base URL. Where that is not allowed, the page does it itself.
 */
import {
  layered,
  layoutProgram,
  type Layout,
  type LayoutEdge,
  type LayoutOptions
} from '../layout';

export interface LayoutJob {
  ids: number[];
  edges: LayoutEdge[];
  options: LayoutOptions;
}

/** Up to so many nodes and edges the page is faster itself than it would be to ask. */
const SMALL = 150;

export class LayoutWorker {
  private worker: Worker | null = null;
  private failed = false;
  private next = 0;
  private readonly waiting = new Map<number, (laid: Layout<LayoutEdge> | null) => void>();

  /** How the last job was done, for tests. */
  how: 'page' | 'worker' = 'page';

  /** The layout at once, where that takes no time; else null, and `lay` is to be used. */
  quick(job: LayoutJob): Layout<LayoutEdge> | null {
    return job.ids.length + job.edges.length <= SMALL ? this.here(job) : null;
  }

  async lay(job: LayoutJob): Promise<Layout<LayoutEdge>> {
    const worker = this.start();
    if (worker === null) {
      return this.here(job);
    }
    const id = ++this.next;
    const laid = await new Promise<Layout<LayoutEdge> | null>(done => {
      this.waiting.set(id, done);
      worker.postMessage({ id, ...job });
    });
    if (laid === null) {
      return this.here(job);
    }
    this.how = 'worker';
    return laid;
  }

  dispose(): void {
    this.worker?.terminate();
    this.worker = null;
    this.waiting.clear(); // nobody is there for the answers: they are not worked out here, either
  }

  private here(job: LayoutJob): Layout<LayoutEdge> {
    this.how = 'page';
    return layered(job.ids, job.edges, job.options);
  }

  private start(): Worker | null {
    if (this.worker !== null || this.failed || typeof Worker === 'undefined') {
      return this.worker;
    }
    try {
      const url = URL.createObjectURL(new Blob([workerText()], { type: 'text/javascript' }));
      const worker = new Worker(url);
      const loaded = (): void => URL.revokeObjectURL(url);
      worker.onmessage = (event: MessageEvent<{ id: number; laid: Layout<LayoutEdge> }>) => {
        loaded();
        this.waiting.get(event.data.id)?.(event.data.laid);
        this.waiting.delete(event.data.id);
      };
      // A content security policy says no, here or only now.
      worker.onerror = event => {
        loaded();
        event.preventDefault();
        this.failed = true;
        worker.terminate();
        this.worker = null;
        this.giveUp();
      };
      this.worker = worker;
    } catch {
      this.failed = true;
    }
    return this.worker;
  }

  private giveUp(): void {
    this.waiting.forEach(done => done(null));
    this.waiting.clear();
  }
}

/** What the worker runs. */
export function workerText(): string {
  return `const layered = (${layoutProgram.toString()})();
onmessage = ({ data: { id, ids, edges, options } }) => {
  postMessage({ id, laid: layered(ids, edges, options) });
};`;
}
