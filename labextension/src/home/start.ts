/** Starts a runtime in the notebook in front: the one place where the panel runs code in a kernel. */
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { trans } from '../i18n';

/** They bind no name in the user's namespace, and leave no trace in the history. */
export const CODE = '__import__("fanlight").init()';
/** With the options of the last one, as `%fanlight restart` does. */
export const AGAIN =
  '__import__("fanlight.session").shutdown(); __import__("fanlight.session").session.again()';

/** Done when the runtime is there. Rejects with a sentence for people. */
export async function startRuntime(
  kernel: Kernel.IKernelConnection | null,
  code = CODE
): Promise<void> {
  if (kernel === null) {
    throw new Error(trans.__('This notebook has no kernel. Choose one, then start Fanlight.'));
  }
  const future = kernel.requestExecute({
    code,
    silent: false,
    store_history: false,
    allow_stdin: false,
    stop_on_error: true
  });
  const { content } = await future.done;
  if (content.status === 'ok') {
    return;
  }
  if (content.status === 'error') {
    throw new Error(reason(content));
  }
  throw new Error(trans.__('The kernel was interrupted before Fanlight had started.'));
}

function reason(error: KernelMessage.IReplyErrorContent): string {
  return error.ename === 'ModuleNotFoundError'
    ? trans.__(
        'Fanlight is not installed for this kernel. Run “%pip install fanlight” in a cell, then start again.'
      )
    : `${error.ename}: ${error.evalue}`;
}
