/** Every migration of every table, in the order they are applied. */
import { containersMigrations } from './containers-table.ts';
import type { Migration } from './db.ts';
import { buildCacheMigrations } from './build-cache-table.ts';
import { eventsMigrations } from './events-table.ts';
import { imagesMigrations } from './images-table.ts';
import { networksMigrations } from './networks-table.ts';
import { volumesMigrations } from './volumes-table.ts';

/** New ones go at the end of their table's own list; a released one never changes. */
export const migrations: readonly Migration[] = [
  ...imagesMigrations,
  ...containersMigrations,
  ...networksMigrations,
  ...volumesMigrations,
  ...buildCacheMigrations,
  ...eventsMigrations,
];
