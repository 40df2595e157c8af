/** Lines of output: only those in view are drawn; stays at the end while new ones come. */
import { useEffect, useLayoutEffect, useRef, useState, type CSSProperties } from 'react';
import { clock, count } from '../../format';
import { trans } from '../../i18n';
import type { LogLine } from '../../answers';
import { begins } from '../../model/loglines';
import { CellLink } from '../../views/cell';
import type { PanelModel } from '../../views/model';
import { stripAnsi } from '../../views/parts';
import type { Selection } from '../../views/section';
import { useWindow } from '../../views/table/useWindow';
import { Sub } from '../details/facts';
import { useLogs, type LogSource } from './useLogs';

const LINE = 18; // pixels; as in logs.css
const FIRST = 500; // lines that are asked for at first
const MOST = 2000;
const LINES = 14; // in view, before it scrolls
const LONGEST = 2000; // characters of a line that are drawn
const useAfterDrawing = typeof document === 'undefined' ? useEffect : useLayoutEffect;

export interface LogLinesProps {
  model: PanelModel;
  source: LogSource;
  live: boolean;
  search?: string;
  stream?: 'out' | 'err' | '';
  /** As a part of something else: with a title, a few lines high, nothing where there is nothing. */
  brief?: boolean;
  onSelect?: (selection: Selection) => void;
}

export function LogLines(props: LogLinesProps) {
  const { model, source, live, search = '', stream = '', brief = false } = props;
  const [limit, setLimit] = useState(FIRST);
  const logs = useLogs(model.source, source, search, limit, live);
  const shown = stream ? logs.lines.filter(line => line.stream === stream) : logs.lines;
  if (brief && shown.length === 0) {
    return null;
  }
  const more = logs.older && limit < MOST && !brief;
  return (
    <>
      {brief && <Sub>{trans.__('Output')}</Sub>}
      {more && (
        <button type="button" className="fl-Link" onClick={() => setLimit(MOST)}>
          {trans.__('Show older lines')}
        </button>
      )}
      {shown.length > 0 ? (
        <Lines
          lines={shown}
          model={model}
          height={brief ? Math.min(shown.length, 8) : LINES}
          who={source.task === undefined}
          onSelect={props.onSelect}
        />
      ) : (
        <p className="fl-Empty">{nothing(logs.asking, logs.problem || logs.note, search)}</p>
      )}
      {shown.length > 0 && logs.problem !== '' && <p className="fl-Hint">{logs.problem}</p>}
    </>
  );
}

function nothing(asking: boolean, note: string, search: string): string {
  if (asking) {
    return trans.__('Asking the runtime for its output…');
  }
  if (note !== '') {
    return note;
  }
  return search
    ? trans.__('No line holds “%1”.', search)
    : trans.__('Nothing was printed yet. What tasks print is shown here and under its cell.');
}

interface LinesProps {
  lines: readonly LogLine[];
  model: PanelModel;
  height: number;
  /** Say who wrote a line. */
  who: boolean;
  onSelect: ((selection: Selection) => void) | undefined;
}

function Lines({ lines, model, height, who, onSelect }: LinesProps) {
  const box = useRef<HTMLDivElement>(null);
  const [atEnd, setAtEnd] = useState(true);
  const view = useWindow(box, lines.length, LINE, 0);
  useAfterDrawing(() => {
    if (atEnd && box.current) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [atEnd, lines]);
  const onScroll = (): void => {
    const element = box.current;
    if (element) {
      setAtEnd(element.scrollTop + element.clientHeight >= element.scrollHeight - LINE);
    }
    view.onScroll();
  };
  const { first, end } = view.rows;
  return (
    <div className="fl-Lines">
      <div
        ref={box}
        className="fl-Lines-scroll"
        role="log"
        aria-live="off"
        aria-label={trans.__('%1 lines of output', count(lines.length))}
        tabIndex={0}
        style={{ '--fl-height': `${height * LINE + 8}px` } as CSSProperties}
        onScroll={onScroll}
      >
        <div className="fl-Lines-body" style={{ height: lines.length * LINE }}>
          <div style={{ transform: `translateY(${first * LINE}px)` }}>
            {lines.slice(first, end).map((line, i) => (
              <Line
                key={first + i}
                line={line}
                head={who && (i === 0 || begins(lines, first + i))}
                who={who}
                model={model}
                onSelect={onSelect}
              />
            ))}
          </div>
        </div>
      </div>
      {!atEnd && (
        <button type="button" className="fl-Button fl-Lines-end" onClick={() => setAtEnd(true)}>
          {trans.__('Follow the end')}
        </button>
      )}
    </div>
  );
}

interface LineProps {
  line: LogLine;
  head: boolean;
  who: boolean;
  model: PanelModel;
  onSelect: ((selection: Selection) => void) | undefined;
}

function Line({ line, head, who, model, onSelect }: LineProps) {
  // What went past Python's streams is in a file that names neither task nor process.
  const known = line.task !== '' || line.worker !== '';
  const name = line.name || (known ? trans.__('process %1', line.pid) : trans.__('a worker'));
  const go = (): void =>
    onSelect?.(
      line.task ? { kind: 'task', id: line.task } : { kind: 'worker', id: line.worker }
    );
  return (
    <div className={`fl-Line fl-Line-${line.stream}`}>
      {who && (
        <span className="fl-Line-who">
          {head && onSelect && known ? (
            <button
              type="button"
              className="fl-Link"
              title={trans.__('%1, process %2', name.slice(0, 200), line.pid)}
              onClick={go}
            >
              {name.slice(0, 100)}
            </button>
          ) : (
            head && name.slice(0, 100)
          )}
        </span>
      )}
      <time>{line.time > 0 ? clock(line.time) : ''}</time>
      <span className="fl-Line-text">{stripAnsi(line.text).slice(0, LONGEST)}</span>
      {head && line.origin !== '' && <CellLink model={model} origin={line.origin} />}
    </div>
  );
}
