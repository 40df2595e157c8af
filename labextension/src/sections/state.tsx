/** A state as a dot of its colour and its word; the word is what counts. */
import type { ReactNode } from 'react';
import type { Stage } from '../model/selectors';

export type Tone = 'running' | 'done' | 'warm' | 'bad' | 'quiet' | 'cancelled';

export const STAGE_TONE: Record<Stage, Tone> = {
  pending: 'quiet',
  running: 'running',
  done: 'done',
  failed: 'bad',
  cancelled: 'cancelled'
};

export function StateDot(props: { tone: Tone; children: ReactNode }) {
  return (
    <span className={`fl-State fl-State-${props.tone}`}>
      <i aria-hidden="true" />
      {props.children}
    </span>
  );
}
