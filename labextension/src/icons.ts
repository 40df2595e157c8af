import { LabIcon } from '@jupyterlab/ui-components';

/** A fanlight: radiating panes above a door. */
const FANLIGHT = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="none" stroke="#616161" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">
    <path d="M2.8 12.6a9.2 9.2 0 0 1 18.4 0z"/>
    <path d="M8.9 12.6a3.1 3.1 0 0 1 6.2 0"/>
    <path d="M9.5 10.8 4.6 7.2M11 9.7 9.2 3.9M13 9.7l1.8-5.8M14.5 10.8l4.9-3.6"/>
    <path d="M4.6 15.6v6.2M19.4 15.6v6.2M4.6 15.6h14.8M12 15.6v6.2M2.8 21.8h18.4"/>
  </g>
</svg>`;

export const fanlightIcon = new LabIcon({ name: 'fanlight:window', svgstr: FANLIGHT });
