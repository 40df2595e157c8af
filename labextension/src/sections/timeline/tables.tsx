/** The timeline without the picture: its lanes, and the steps of the critical path, as tables. */
import { useMemo } from 'react';
import { count, duration, percent } from '../../format';
import { trans } from '../../i18n';
import { Table } from '../../views/table/table';
import type { Column } from '../../views/table/model';
import type { Path } from './critical';
import type { Feed } from './feed';
import { ofLane } from './figures';
import { laneName } from './lanes';
import type { View } from './view';
import { since } from './view';
import { functionName, linkText } from './words';

interface LaneRow {
  key: string;
  name: string;
  tasks: number;
  failed: number;
  busy: number;
  share: number;
  moved: number;
}

const laneColumns = (): Column<LaneRow>[] => [
  { id: 'lane', title: trans.__('Lane'), value: r => r.name, width: 90, grow: 1 },
  {
    id: 'tasks',
    title: trans.__('Tasks'),
    value: r => r.tasks,
    text: r => count(r.tasks),
    width: 56,
    align: 'end',
    downFirst: true
  },
  {
    id: 'busy',
    title: trans.__('Busy'),
    value: r => r.share,
    text: r => percent(r.share),
    width: 64,
    align: 'end',
    downFirst: true
  },
  {
    id: 'time',
    title: trans.__('Time in tasks'),
    value: r => r.busy,
    text: r => duration(r.busy),
    width: 90,
    align: 'end',
    downFirst: true,
    from: 380
  },
  {
    id: 'moved',
    title: trans.__('Reading and storing'),
    value: r => r.moved,
    text: r => duration(r.moved),
    width: 130,
    align: 'end',
    downFirst: true,
    from: 520
  },
  {
    id: 'failed',
    title: trans.__('Failed'),
    value: r => r.failed,
    text: r => count(r.failed),
    width: 56,
    align: 'end',
    downFirst: true
  }
];

export interface LaneTableProps {
  feed: Feed;
  version: number;
  view: View;
}

/** Each lane, of the time that is on view. */
export function LaneTable({ feed, version, view }: LaneTableProps) {
  const columns = useMemo(laneColumns, []);
  const rows = useMemo(() => {
    const from = Math.max(view.begin, feed.lanes.begin);
    const to = Math.min(view.end, Math.max(feed.lanes.end, from));
    return feed.lanes.sorted().map(lane => {
      const found = ofLane(feed.spans, lane, from, to);
      return {
        key: lane.key,
        name: laneName(lane, feed.names, feed.living),
        tasks: found.tasks,
        failed: found.failed,
        busy: found.busy,
        share: to > from ? Math.min(1, found.busy / (to - from)) : 0,
        moved: found.reading + found.storing
      };
    });
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [feed, version, view.begin, view.end]);
  return (
    <Table
      id="timeline-lanes"
      label={trans.__('Lanes of the timeline')}
      rows={rows}
      columns={columns}
      rowKey={row => row.key}
      sort={{ column: 'lane', down: false }}
      lines={12}
    />
  );
}

interface StepRow {
  key: string;
  number: number;
  span: number;
  name: string;
  lane: string;
  at: number;
  took: number;
  gap: number;
  why: string;
}

const stepColumns = (begin: number): Column<StepRow>[] => [
  {
    id: 'number',
    title: trans.__('Step'),
    value: r => r.number,
    text: r => count(r.number),
    width: 60,
    align: 'end'
  },
  { id: 'name', title: trans.__('Function'), value: r => r.name, width: 90, grow: 1 },
  {
    id: 'took',
    title: trans.__('Took'),
    value: r => r.took,
    text: r => duration(r.took),
    width: 64,
    align: 'end',
    downFirst: true
  },
  {
    id: 'gap',
    title: trans.__('Gap before'),
    value: r => r.gap,
    text: r => duration(r.gap),
    width: 80,
    align: 'end',
    downFirst: true,
    from: 380
  },
  {
    id: 'why',
    title: trans.__('After the one before, it'),
    value: r => r.why,
    width: 170,
    from: 460
  },
  { id: 'lane', title: trans.__('Lane'), value: r => r.lane, width: 100, from: 640 },
  {
    id: 'at',
    title: trans.__('Started'),
    value: r => r.at,
    text: r => since(r.at - begin, 0.001),
    width: 80,
    align: 'end',
    from: 720
  }
];

export interface StepTableProps {
  feed: Feed;
  path: Path;
  onSpan: (span: number) => void;
}

export function StepTable({ feed, path, onSpan }: StepTableProps) {
  const begin = feed.lanes.begin;
  const columns = useMemo(() => stepColumns(begin), [begin]);
  const rows = useMemo(
    () =>
      path.steps.map((step, n) => {
        const lane = feed.lanes.all[feed.lanes.lane[step.span]];
        return {
          key: `${n}`,
          number: n + 1,
          span: step.span,
          name: functionName(feed, feed.spans.group[step.span]),
          lane: lane ? laneName(lane, feed.names, feed.living) : '',
          at: step.from,
          took: step.to - step.from,
          gap: step.gap,
          why: linkText(step.cause)
        };
      }),
    [feed, path]
  );
  return (
    <Table
      id="timeline-steps"
      label={trans.__('Steps of the critical path')}
      rows={rows}
      columns={columns}
      rowKey={row => row.key}
      sort={{ column: 'number', down: false }}
      onRow={row => onSpan(row.span)}
      lines={12}
    />
  );
}
