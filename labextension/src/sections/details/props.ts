import type { Data } from '../../model/state';
import type { PanelModel } from '../../views/model';
import type { Selection } from '../../views/section';

/** What each kind of details is given. */
export interface DetailProps {
  id: string;
  model: PanelModel;
  data: Data;
  live: boolean;
  onSelect: (selection: Selection | null) => void;
}
