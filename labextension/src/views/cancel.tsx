/** Cancels all unfinished tasks of some functions: of one, or of a cell. */
import { useEffect, useState } from 'react';
import { count } from '../format';
import { trans } from '../i18n';
import type { Source } from '../model/source';
import type { StageCounts } from '../model/selectors';
import { ConfirmButton } from './confirm';

export interface CancelGroupsProps {
  source: Source;
  live: boolean;
  groups: readonly number[];
  counts: StageCounts;
  /** What they are, for people: a function's name, or a cell's. */
  what: string;
}

export function CancelGroups({ source, live, groups, counts, what }: CancelGroupsProps) {
  const [said, setSaid] = useState('');
  const left = counts.pending + counts.running;
  const key = groups.join();
  useEffect(() => setSaid(''), [key]);
  if (!live || !source.controls || (left === 0 && said === '')) {
    return null;
  }
  const cancel = (): void => {
    setSaid(trans.__('Cancelling…'));
    source
      .command({ action: 'cancel_groups', groups: [...groups] })
      .then(number =>
        setSaid(trans._n('Cancelled %1 task.', 'Cancelled %1 tasks.', Number(number)))
      )
      .catch((error: unknown) =>
        setSaid(error instanceof Error ? error.message : String(error))
      );
  };
  return (
    <span className="fl-Cancel">
      {left > 0 && (
        <ConfirmButton
          label={trans.__('Cancel all unfinished tasks of %1', what)}
          loses={loses(counts)}
          question={trans._n('Cancel %1 task of %2?', 'Cancel %1 tasks of %2?', left, what)}
          action={trans._n('Cancel %1 task', 'Cancel %1 tasks', left)}
          onConfirm={cancel}
        >
          {trans.__('Cancel')}
        </ConfirmButton>
      )}
      {said !== '' && <small role="status">{said}</small>}
    </span>
  );
}

/** What waits only is lost, too, but nothing has been done for it. */
function loses({ running, pending }: StageCounts): string {
  const parts = [];
  if (running > 0) {
    parts.push(
      trans._n(
        '%1 runs now, and what it has done is lost.',
        '%1 run now, and what they have done is lost.',
        running
      )
    );
  }
  if (pending > 0) {
    parts.push(trans._n('%1 waits.', '%1 wait.', pending, count(pending)));
  }
  return parts.join(' ');
}
