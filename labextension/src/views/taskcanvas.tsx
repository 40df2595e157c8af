/** Many tasks as a grid of small squares on a canvas: one element, however many tasks there are. */
import { useEffect, useRef, useState, type KeyboardEvent, type MouseEvent } from 'react';
import type { TaskView } from '../events';
import { STAGES, stageOf, type Stage } from '../model/selectors';
import { useWidth } from './useWidth';

const CELL = 12;
const PITCH = 15;

export interface TaskCanvasProps {
  tasks: readonly TaskView[];
  label: string;
  /** One task in words, for tooltips and screen readers. */
  describe: (task: TaskView) => string;
  onTask: (id: string) => void;
}

export function TaskCanvas({ tasks, label, describe, onTask }: TaskCanvasProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = useWidth(box) || 300;
  const [cursor, setCursor] = useState(-1);
  const columns = Math.max(1, Math.floor((width + PITCH - CELL) / PITCH));
  const height = Math.ceil(tasks.length / columns) * PITCH;
  const at = Math.min(cursor, tasks.length - 1);
  const theme = themeName();

  useEffect(() => {
    const context = canvas.current?.getContext('2d');
    if (!canvas.current || !context) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.current.width !== w || canvas.current.height !== h) {
      canvas.current.width = w;
      canvas.current.height = h;
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const colours = stageColours(canvas.current);
    tasks.forEach((task, i) => {
      context.fillStyle = colours[stageOf(task.state)];
      // Plain squares: rounding two thousand of them costs a slow machine a frame.
      context.fillRect((i % columns) * PITCH, Math.floor(i / columns) * PITCH, CELL, CELL);
    });
    if (at >= 0) {
      context.strokeStyle = colours.cursor;
      context.lineWidth = 2;
      const x = (at % columns) * PITCH;
      context.strokeRect(x + 1, Math.floor(at / columns) * PITCH + 1, CELL - 2, CELL - 2);
    }
  }, [tasks, columns, width, height, at, theme]);

  const under = (event: MouseEvent): number => {
    const { left, top } = event.currentTarget.getBoundingClientRect();
    const column = Math.floor((event.clientX - left) / PITCH);
    const index = Math.floor((event.clientY - top) / PITCH) * columns + column;
    return column < columns && index >= 0 && index < tasks.length ? index : -1;
  };
  const onKey = (event: KeyboardEvent): void => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[
      event.key
    ];
    if (step !== undefined) {
      event.preventDefault();
      setCursor(Math.max(0, Math.min(tasks.length - 1, at < 0 ? 0 : at + step)));
    } else if ((event.key === 'Enter' || event.key === ' ') && at >= 0) {
      event.preventDefault();
      onTask(tasks[at].id);
    }
  };
  return (
    <div
      ref={box}
      className="fl-Canvas"
      role="listbox"
      tabIndex={0}
      aria-label={label}
      aria-activedescendant={at >= 0 ? 'fl-canvas-cursor' : undefined}
      onKeyDown={onKey}
    >
      <canvas
        ref={canvas}
        style={{ width, height }}
        onClick={event => {
          const index = under(event);
          if (index >= 0) {
            onTask(tasks[index].id);
          }
        }}
        onMouseMove={event => {
          const index = under(event);
          event.currentTarget.title = index >= 0 ? describe(tasks[index]) : '';
        }}
      />
      {at >= 0 && (
        <span id="fl-canvas-cursor" className="fl-Unseen" role="option" aria-selected={false}>
          {describe(tasks[at])}
        </span>
      )}
    </div>
  );
}

function themeName(): string {
  const { jpThemeName, jpThemeLight } = document.body.dataset;
  return `${jpThemeName} ${jpThemeLight}`;
}

type Colours = Record<Stage | 'cursor', string>;
let cached: { theme: string; colours: Colours } | null = null;

/** Colours of the theme, which a canvas cannot take from a style sheet by itself. */
function stageColours(element: HTMLElement): Colours {
  const theme = themeName();
  if (cached?.theme !== theme) {
    const style = getComputedStyle(element);
    const colours = { cursor: style.color } as Colours;
    for (const stage of STAGES) {
      const name = stage === 'pending' ? '--jp-border-color2' : `--fl-${stage}`;
      colours[stage] = style.getPropertyValue(name).trim() || '#888888';
    }
    cached = { theme, colours };
  }
  return cached.colours;
}
