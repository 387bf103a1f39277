/** Events as rows: what is there when somebody hears of what they tell. */
import { expect, test } from 'vitest';

import { StateDb } from '../../src/state/db.ts';
import { EventsTable } from '../../src/state/events-table.ts';
import { migrations } from '../../src/state/migrations.ts';

test('events are written before whoever waits for what they tell of goes on', async () => {
  using db = StateDb.open(':memory:', migrations);
  using table = new EventsTable<{ timeNs: bigint; name: string }>(db);
  const rows = (): number => db.prepare('SELECT number FROM event').all().length;
  const act = async (): Promise<void> => {
    table.add({ timeNs: 1n, name: 'one' }, 10);
    table.add({ timeNs: 2n, name: 'two' }, 10);
  };
  await act();
  expect(rows()).toBe(2);
  expect(table.last(10)).toEqual([
    { timeNs: 1n, name: 'one' },
    { timeNs: 2n, name: 'two' },
  ]);
});
