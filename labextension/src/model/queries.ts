/** What may be asked of a runtime, or of a recording, and what may be done to a runtime. */
export type * from '../answers';
