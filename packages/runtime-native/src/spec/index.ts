/** The OCI runtime spec (`config.json`), as zod schemas and types. */
export type { Spec } from './config.ts';
