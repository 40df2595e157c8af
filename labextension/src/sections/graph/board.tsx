/** A stage as a React component: what is drawn on the canvas comes by `paint`, elements as children. */
import {
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type KeyboardEvent,
  type MutableRefObject,
  type ReactNode
} from 'react';
import { trans } from '../../i18n';
import type { Box } from '../../model/graph/camera';
import { Stage, type StageOptions } from './stage';

export interface Region {
  box: Box;
  zoom: number;
}

export interface BoardProps {
  label: string;
  /** What a screen reader says of how to use it. */
  help: string;
  role: 'group' | 'application';
  contents: Box;
  options: StageOptions;
  /** Pixels; null takes the room that there is. */
  height: number | null;
  /** Changes with the colours. */
  theme: string;
  /** Hands the picture to the painter; called for a new stage and when the function has changed. */
  paint: (stage: Stage) => void;
  stage: MutableRefObject<Stage | null>;
  onRegion?: (region: Region) => void;
  onHover?: (point: { x: number; y: number } | null) => void;
  onClick?: (point: { x: number; y: number }, twice: boolean) => void;
  /** True when the key was used up. */
  onKey?: (event: KeyboardEvent) => boolean;
  /** Moves and scales with the picture. */
  children?: ReactNode;
  /** Stands still above it. */
  above?: ReactNode;
  /** An element among the children that has the focus in the sense of ARIA. */
  active?: string;
}

const PAN = 48;

export function Board(props: BoardProps) {
  const { stage, contents, options, height, theme, paint } = props;
  const host = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const world = useRef<HTMLDivElement>(null);
  const handlers = useRef(props);
  handlers.current = props;
  // A canvas whose context was lost is replaced by one that is drawn on without WebGL.
  const [lost, setLost] = useState(0);

  useLayoutEffect(() => {
    if (!host.current || !canvas.current || !world.current) {
      return;
    }
    const box = host.current;
    const made = new Stage(
      box,
      canvas.current,
      world.current,
      handlers.current.options,
      {
        onRegion: (region, zoom) => handlers.current.onRegion?.({ box: region, zoom }),
        onHover: point => handlers.current.onHover?.(point),
        onClick: (point, twice) => handlers.current.onClick?.(point, twice),
        onLost: () => setLost(n => n + 1)
      },
      lost > 0
    );
    stage.current = made;
    const observer = new ResizeObserver(() => made.resize(box.clientWidth, box.clientHeight));
    observer.observe(box);
    made.resize(box.clientWidth, box.clientHeight);
    return () => {
      observer.disconnect();
      stage.current = null;
      made.dispose();
    };
  }, [lost, stage]);

  useLayoutEffect(() => {
    stage.current?.configure(options);
  }, [options, stage, lost]);
  useLayoutEffect(() => {
    stage.current?.setContents(contents);
  }, [contents, stage, lost]);
  useEffect(() => stage.current?.recolour(), [theme, stage]);
  useLayoutEffect(() => {
    if (stage.current?.painter) {
      paint(stage.current);
      stage.current.invalidate();
    }
  }, [paint, stage, lost]);

  const onKey = (event: KeyboardEvent): void => {
    const made = stage.current;
    if (made === null || event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    if (handlers.current.onKey?.(event) || onViewKey(made, event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    <div
      ref={host}
      className="fl-Board"
      role={props.role}
      tabIndex={0}
      aria-label={props.label}
      aria-description={props.help}
      aria-activedescendant={props.active}
      style={height === null ? undefined : { height }}
      onKeyDown={onKey}
    >
      <canvas ref={canvas} key={lost} className="fl-Board-canvas" aria-hidden="true" />
      <div ref={world} className="fl-Board-world">
        {props.children}
      </div>
      {props.above}
    </div>
  );
}

function onViewKey(stage: Stage, event: KeyboardEvent): boolean {
  switch (event.key) {
    case '+':
    case '=':
      stage.zoomBy(1.4);
      return true;
    case '-':
      stage.zoomBy(1 / 1.4);
      return true;
    case '0':
      stage.fit();
      return true;
    case 'ArrowLeft':
      stage.panBy(-PAN, 0, true);
      return true;
    case 'ArrowRight':
      stage.panBy(PAN, 0, true);
      return true;
    case 'ArrowUp':
      stage.panBy(0, -PAN, true);
      return true;
    case 'ArrowDown':
      stage.panBy(0, PAN, true);
      return true;
    default:
      return false;
  }
}

/** Below a board: what its colours mean, and zoom in, out, all. */
export function Foot(props: { stage: MutableRefObject<Stage | null>; children: ReactNode }) {
  const { stage } = props;
  const buttons: Array<[string, string, () => void]> = [
    ['+', trans.__('Zoom in (+)'), () => stage.current?.zoomBy(1.4)],
    ['−', trans.__('Zoom out (-)'), () => stage.current?.zoomBy(1 / 1.4)],
    ['⤢', trans.__('Show all (0)'), () => stage.current?.fit()]
  ];
  return (
    <div className="fl-GraphFoot">
      {props.children}
      <div className="fl-GraphFoot-zoom" role="group" aria-label={trans.__('Zoom')}>
        {buttons.map(([sign, title, run]) => (
          <button
            key={sign}
            type="button"
            className="fl-Tool"
            aria-label={title}
            title={title}
            onClick={run}
          >
            {sign}
          </button>
        ))}
      </div>
    </div>
  );
}
