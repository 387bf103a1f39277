/** Every migration of every table, in the order they are applied. */
import type { Migration } from './db.ts';
import { imagesMigrations } from './images-table.ts';

/** New ones go at the end of their table's own list; a released one never changes. */
export const migrations: readonly Migration[] = [...imagesMigrations];
