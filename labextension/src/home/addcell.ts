/** Adds code to the notebook in front as a cell of its own, and puts the keyboard there. */
import { NotebookActions, type INotebookTracker } from '@jupyterlab/notebook';

/** Below the active cell; an active one that is empty is used itself. Nothing is run. */
export function addCell(notebooks: INotebookTracker, code: string): void {
  const content = notebooks.currentWidget?.content;
  if (!content) {
    return;
  }
  const active = content.activeCell?.model;
  if (active?.type !== 'code' || active.sharedModel.getSource().trim() !== '') {
    NotebookActions.insertBelow(content);
  }
  content.activeCell?.model.sharedModel.setSource(code);
  content.activate();
}
