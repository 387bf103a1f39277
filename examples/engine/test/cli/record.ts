/**
 * Records what the stock docker CLI does with every case: `node --conditions=@tare/source test/cli/record.ts [docker]`.
 * Run it when cases are added; the fixtures are what our command line is held to.
 */
import { writeFile } from 'node:fs/promises';
import { cases } from './cases.ts';
import { playContexts } from './context-script.ts';
import { record, type Recorded } from './compare.ts';
import { docker } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer } from './peer.ts';

const program = process.argv[2] ?? 'docker';
const recorded: Record<string, Recorded> = {};
for (const { args, input } of cases) {
  await using peer = await startPeer(machine());
  const outcome = await docker(program, peer.host, args, { input });
  recorded[JSON.stringify(args)] = record(outcome, peer.seen);
}
const target = new URL('fixtures/docker-28.json', import.meta.url);
await writeFile(target, `${JSON.stringify(recorded, null, 1)}\n`);
const contexts = new URL('fixtures/docker-28-contexts.json', import.meta.url);
const played = await playContexts((args, options) => docker(program, undefined, args, options));
await writeFile(contexts, `${JSON.stringify(played, null, 1)}\n`);
process.stdout.write(`recorded ${Object.keys(recorded).length} cases\n`);
