/** Output, exit codes and requests of every case, held against what the stock docker CLI 28 was recorded to do. */
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { cases } from './cases.ts';
import { record, type Recorded } from './compare.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer } from './peer.ts';

const fixtures = new URL('fixtures/docker-28.json', import.meta.url);
const recorded = JSON.parse(await readFile(fixtures, 'utf8')) as Record<string, Recorded>;

describe('tare does what docker was recorded to do', () => {
  it.for(cases)('tare $args', async ({ args, input }) => {
    await using peer = await startPeer(machine());
    const outcome = await tare(peer.host, args, { input });
    const { stdout, ...rest } = record(outcome, peer.seen);
    const { stdout: expected, ...expectedRest } = recorded[JSON.stringify(args)]!;
    expect(rest).toEqual(expectedRest);
    expect(withoutVersion(stdout, args)).toBe(withoutVersion(expected, args));
  });
});

/** `info` opens with the client's own version, which is all that may differ. */
function withoutVersion(stdout: string, [verb]: readonly string[]): string {
  return verb === 'info' ? stdout.replace(/^ Version: .*$/m, ' Version:') : stdout;
}
