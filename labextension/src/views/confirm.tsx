/** A button that asks before it does what cannot be taken back. */
import { useEffect, useRef, useState, type ReactNode } from 'react';
import { trans } from '../i18n';

export interface ConfirmButtonProps {
  /** What is on the button, and what it is called where that is an icon. */
  children: ReactNode;
  label?: string;
  className?: string;
  disabled?: boolean;
  /** What would be lost; "" does it at once. */
  loses: string;
  question: string;
  /** The word on the button that does it. */
  action: string;
  onConfirm: () => void;
}

export function ConfirmButton(props: ConfirmButtonProps) {
  const [asked, setAsked] = useState(false);
  const press = (): void => (props.loses === '' ? props.onConfirm() : setAsked(true));
  return (
    <>
      <button
        type="button"
        className={props.className ?? 'fl-Button'}
        aria-label={props.label}
        title={props.label}
        aria-haspopup={props.loses === '' ? undefined : 'dialog'}
        disabled={props.disabled}
        onClick={press}
      >
        {props.children}
      </button>
      {asked && <Question {...props} onClose={() => setAsked(false)} />}
    </>
  );
}

/** A modal dialog of the browser: above everything, whatever scrolls or clips around the button. */
function Question(props: ConfirmButtonProps & { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      className="fl-Confirm"
      role="alertdialog"
      aria-label={props.question}
      onClose={props.onClose}
      onClick={event => event.target === dialog.current && dialog.current.close()}
      onKeyDown={event => event.stopPropagation()} // no shortcuts of the page meanwhile
    >
      <form method="dialog">
        <h2>{props.question}</h2>
        <p>{props.loses}</p>
        <div className="fl-Confirm-buttons">
          <button type="submit" className="fl-Button" autoFocus>
            {trans.__('Keep it running')}
          </button>
          <button
            type="button"
            className="fl-Button fl-Button-danger"
            onClick={() => {
              dialog.current?.close();
              props.onConfirm();
            }}
          >
            {props.action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
