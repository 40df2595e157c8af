/** What is selected where sections are shown: one rule for the panel and for tabs. */
import { useCallback, useState } from 'react';
import type { Selection } from './section';

/** What is selected after a click: a second one on the same function puts it away. */
export function afterClick(old: Selection | null, clicked: Selection | null): Selection | null {
  const again = clicked?.kind === 'group' && old?.kind === 'group' && old.id === clicked.id;
  return again ? null : clicked;
}

interface Selecting {
  selection: Selection | null;
  /** For sections: something was clicked. */
  onClick: (clicked: Selection | null) => void;
  /** For the drawer: show this. */
  onShow: (next: Selection | null) => void;
}

export function useSelection(): Selecting {
  const [selection, onShow] = useState<Selection | null>(null);
  const onClick = useCallback(
    (clicked: Selection | null) => onShow(old => afterClick(old, clicked)),
    []
  );
  return { selection, onClick, onShow };
}
