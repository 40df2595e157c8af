/** Small pieces that the sections share. */
import { useId, useState, type ReactNode } from 'react';
import { count } from '../format';
import { trans } from '../i18n';
import { STAGES, total, type Stage, type StageCounts } from '../model/selectors';
import type { Tabs } from './model';

interface FoldProps {
  id: string;
  title: string;
  summary?: ReactNode;
  tone?: 'bad';
  open: boolean;
  onToggle: (id: string) => void;
  tabs: Tabs | null;
  children: ReactNode;
}

/** A part of the panel that folds away; what is folded is not rendered. */
export function Section(props: FoldProps) {
  const body = useId(); // the panel may be drawn twice, in the sidebar and in a tab
  return (
    <section className="fl-Section" data-section={props.id}>
      <div className="fl-Section-head">
        <h3>
          <button
            type="button"
            aria-expanded={props.open}
            aria-controls={props.open ? body : undefined}
            onClick={() => props.onToggle(props.id)}
            onPointerDown={event => event.button === 0 && props.tabs?.drag(props.id, event)}
          >
            <span className="fl-caret" aria-hidden="true" />
            <span className="fl-Section-title">{props.title}</span>
            <span className={`fl-Section-summary ${props.tone === 'bad' ? 'fl-bad' : ''}`}>
              {props.summary}
            </span>
          </button>
        </h3>
        {props.tabs && (
          <button
            type="button"
            className="fl-Icon fl-Section-open"
            aria-label={trans.__('Open “%1” as a tab', props.title)}
            title={trans.__('Open as a tab (or drag the title)')}
            onClick={() => props.tabs?.open(props.id)}
          >
            <svg viewBox="0 0 16 16" aria-hidden="true">
              <path d="M7 3.500H3.500v9h9V9M9.500 3h3.500v3.500M13 3 7.500 8.500" />
            </svg>
          </button>
        )}
      </div>
      {props.open && (
        <div id={body} className="fl-Section-body">
          {props.children}
        </div>
      )}
    </section>
  );
}

/** Nothing to show, and why. */
export function Empty(props: { children: ReactNode }) {
  return <p className="fl-Empty">{props.children}</p>;
}

export const STAGE_TEXT: Readonly<Record<Stage, string>> = {
  get pending() {
    return trans.__('pending');
  },
  get running() {
    return trans.__('running');
  },
  get done() {
    return trans.__('done');
  },
  get failed() {
    return trans.__('failed');
  },
  get cancelled() {
    return trans.__('cancelled');
  }
};

/** "3 running, 5 done", in the order in which stages are stacked. */
export function countsText(counts: StageCounts): string {
  return (
    STAGES.filter(stage => counts[stage] > 0)
      .map(stage => trans.__('%1 %2', count(counts[stage]), STAGE_TEXT[stage]))
      .join(', ') || trans.__('none')
  );
}

/** One stacked bar: done, running, failed, cancelled; what is pending is the empty rest. */
export function StackedBar(props: { counts: StageCounts; label: string }) {
  const all = total(props.counts);
  const ended = props.counts.done + props.counts.failed + props.counts.cancelled;
  return (
    <div
      className="fl-Bar"
      role="progressbar"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={all}
      aria-valuenow={ended}
      aria-valuetext={countsText(props.counts)}
    >
      {STAGES.filter(stage => props.counts[stage] > 0).map(stage => (
        <span
          key={stage}
          className={`fl-Bar-part fl-fill-${stage}`}
          style={{ flexGrow: props.counts[stage] }}
        />
      ))}
    </div>
  );
}

export type MeterTone = 'running' | 'done' | 'warm' | 'neutral';

/** A share of a whole, as a thin bar. */
export function Meter(props: { share: number; label: string; text: string; tone?: MeterTone }) {
  const share = Math.min(1, Math.max(0, props.share));
  return (
    <span
      className="fl-Meter"
      role="meter"
      aria-label={props.label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(share * 100)}
      aria-valuetext={props.text}
    >
      <span
        className={`fl-Meter-fill fl-tone-${props.tone ?? 'running'}`}
        style={{ transform: `scaleX(${share.toFixed(4)})` }}
      />
    </span>
  );
}

/** Code to copy, or to add to the notebook. */
export function Snippet(props: { code: string; onAdd?: ((code: string) => void) | null }) {
  const [copied, setCopied] = useState(false);
  return (
    <div className="fl-Snippet">
      <pre tabIndex={0} aria-label={trans.__('Code')}>
        <code>{props.code}</code>
      </pre>
      <div className="fl-Snippet-buttons">
        <button
          type="button"
          className="fl-Button"
          aria-label={trans.__('Copy the code')}
          onClick={() => {
            void navigator.clipboard
              .writeText(props.code)
              .then(() => setCopied(true))
              .catch(() => setCopied(false));
          }}
          onBlur={() => setCopied(false)}
        >
          {copied ? trans.__('Copied') : trans.__('Copy')}
        </button>
        {props.onAdd && (
          <button
            type="button"
            className="fl-Button"
            title={trans.__('Add the code to the notebook as a cell')}
            onClick={() => props.onAdd?.(props.code)}
          >
            {trans.__('Add a cell')}
          </button>
        )}
      </div>
    </div>
  );
}

/** Text of a traceback; text, never markup, whatever it holds. */
export function Traceback(props: { text: string }) {
  return (
    <pre className="fl-Traceback" tabIndex={0} aria-label={trans.__('Traceback')}>
      {stripAnsi(props.text)}
    </pre>
  );
}

/** IPython colours tracebacks with escape sequences, which mean nothing here. */
export function stripAnsi(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '');
}
