/** A traceback: where in the notebook it came from, and its text. Text, never markup. */
import { trans } from '../../i18n';
import { isCell, placeOf, type Frame } from '../../model/causes';
import type { PanelModel } from '../../views/model';
import { Traceback, stripAnsi } from '../../views/parts';

export interface TraceProps {
  model: PanelModel;
  text: string;
}

export function Trace({ model, text }: TraceProps) {
  const plain = stripAnsi(text);
  const place = placeOf(plain);
  return (
    <>
      {place && <Place model={model} place={place} />}
      <Traceback text={plain} />
    </>
  );
}

/** "Raised in line 4 of load", with the way there. */
export function Place({ model, place }: { model: PanelModel; place: Frame }) {
  const { goToCode } = model;
  const text = trans.__('line %1 of %2', place.line, place.function.slice(0, 100));
  return (
    <p className="fl-Place">
      {trans.__('Raised in')}{' '}
      {goToCode && isCell(place.file) && place.code !== '' ? (
        <button
          type="button"
          className="fl-Link"
          title={trans.__('Go to this line')}
          onClick={() => void goToCode(place.code, place.line)}
        >
          {text}
        </button>
      ) : (
        <b title={place.file}>{text}</b>
      )}
      {place.code !== '' && <code>{place.code.slice(0, 200)}</code>}
    </p>
  );
}
