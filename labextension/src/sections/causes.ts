/** The causes of failures: the runtime's own list, which counts all; before it answers, those known. */
import { useMemo } from 'react';
import { causesOf, type Cause } from '../model/causes';
import type { ErrorsAnswer } from '../answers';
import type { Data } from '../model/state';
import { useAsked } from '../views/asked';
import type { PanelModel } from '../views/model';

const LATER = 2; // seconds after a failure

export function useCauses(model: PanelModel, data: Data, live: boolean): readonly Cause[] {
  const own = useMemo(() => causesOf(data.errors), [data.errors]);
  const askable = (live || model.source.kind === 'replay') && data.errors.length > 0;
  // Asked each second while failures come, and once more after the last: the rest is not told.
  const last = data.errors[data.errors.length - 1]?.time ?? 0;
  const version = Math.min(Math.floor(data.time), Math.floor(last) + LATER);
  const { answer } = useAsked<ErrorsAnswer>(
    model.source,
    askable ? { what: 'errors' } : null,
    version
  );
  return answer && answer.causes.length > 0 ? answer.causes : own;
}
