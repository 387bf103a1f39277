/** Around the whole test run: loopback up in the run's own network namespace, and nothing left behind at the end. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { leftovers, ownNetwork, takeInventory, type Inventory } from './leftovers.ts';

/** The kernel takes namespaces and cgroups apart after the last process is gone; this long is enough everywhere. */
const GRACE_MS = 5_000;

export async function setup(): Promise<() => Promise<void>> {
  // a fresh namespace has a loopback that is down; the machine's own is left alone
  if (ownNetwork()) network('up');
  const before = look();
  return async () => {
    const deadline = Date.now() + GRACE_MS;
    let left = leftovers(before, look());
    while (left.length > 0 && Date.now() < deadline) {
      await sleep(100);
      left = leftovers(before, look());
    }
    if (left.length === 0) return;
    const message = `the test run left things behind:\n  ${left.join('\n  ')}`;
    // outside `npm test` other runs may share the machine: then it is for the reader to judge
    if (process.env.TARE_TEST_TMPDIR === undefined) process.stderr.write(`${message}\n`);
    else throw new Error(message);
  };
}

/** In a process of its own: vitest resolves what its global set-up imports without our export condition. */
function network(verb: 'up' | 'tables'): string {
  const script = join(import.meta.dirname, 'network.ts');
  return execFileSync(process.execPath, ['--conditions=@tare/source', script, verb], { encoding: 'utf8' });
}

/** The machine as it is; firewall tables only where they are the run's own. */
function look(): Inventory {
  const inventory = takeInventory();
  if (ownNetwork())
    for (const name of network('tables').split('\n').filter(Boolean))
      inventory.add(`nf_tables table ${name}`);
  return inventory;
}
