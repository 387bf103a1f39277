/** The doctor on this machine. */
import { readMachineFacts } from './facts.ts';
import { blockers, judge, type Check } from './checks.ts';

/** Where images go, and whose socket it is, when nothing else is said. */
const DEFAULT_DATA_ROOT = '/var/lib/tare';
const DEFAULT_GROUP = 'docker';

/** Looks at this machine. */
export async function examine(options: { dataRoot?: string; group?: string } = {}): Promise<Check[]> {
  const facts = await readMachineFacts({
    dataRoot: options.dataRoot ?? DEFAULT_DATA_ROOT,
    group: options.group ?? DEFAULT_GROUP,
    loadNative: () => import('@tare/runtime-native'),
  });
  return judge(facts);
}

/** Why the daemon cannot run here, in one line; undefined when nothing of the machine is in the way. */
export async function whyNot(options: { dataRoot: string; group: string }): Promise<string | undefined> {
  const checks = await examine(options);
  const needed = checks.filter(({ id, verdict }) => id === 'user' && verdict !== 'good');
  const inTheWay = [...needed, ...blockers(checks)];
  if (inTheWay.length === 0) return undefined;
  const reasons = inTheWay.map(({ found, means, remedy }) => `${found}: ${means}${remedy && `; ${remedy}`}`);
  return `cannot run containers here: ${reasons.join('. ')}. 'tare doctor' tells more`;
}
