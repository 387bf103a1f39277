/** Networks of somebody without root: user 65534 with containers in namespaces of its own, and the way out of them. */

import { execFile, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

import { describeInNamespace, Lab } from './lab/namespaces.ts';
import type { RootlessReport } from './lab/rootless.ts';

const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];

/** Why nobody cannot have namespaces here. */
function obstacle(): string | undefined {
  const [command, ...args] = [...NOBODY, 'unshare', '--user', '--map-root-user', '--net', 'true'];
  if (spawnSync(command!, args).status !== 0) return 'this machine gives no user namespaces to users';
  const [test, ...rest] = [
    ...NOBODY,
    process.execPath,
    '-e',
    `require('fs').readdirSync(${JSON.stringify(import.meta.dirname)})`,
  ];
  return spawnSync(test!, rest).status === 0 ? undefined : 'this checkout cannot be read by other users';
}

function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** A machine of one's own, on a LAN with a server; what nobody's containers there make of an uplink. */
async function rootless(lab: Lab, program: string): Promise<RootlessReport> {
  const machine = await lab.lan({ routed: true });
  // the server is what is the test's own namespace otherwise
  const server = await lab.agent('/proc/self/ns/net');
  const port = 20_000 + (process.pid % 10_000);
  await server.serve('outside', port);
  spawnSync('nsenter', [`--net=${machine.path}`, 'ip', 'link', 'set', 'lo', 'up']);
  const script = join(import.meta.dirname, 'lab', 'rootless.ts');
  const args = [
    '--conditions=@tare/source',
    script,
    'outer',
    program,
    `${machine.hostAddress}:${port}`,
    '18080',
  ];
  const { stdout } = await promisify(execFile)(
    'nsenter',
    [`--net=${machine.path}`, ...NOBODY, process.execPath, ...args],
    { env: { ...process.env, HOME: '/tmp' } },
  );
  return JSON.parse(stdout) as RootlessReport;
}

const reason = obstacle();
if (reason) console.warn(`skipped: networks without root (${reason})`);
else {
  describeInNamespace('without root', () => {
    for (const program of ['slirp4netns', 'pasta']) {
      if (!isInstalled(program)) console.warn(`skipped: ways out by ${program} (not installed)`);
      it.skipIf(!isInstalled(program))(`containers reach the world, and it them, by ${program}`, async () => {
        await using lab = await Lab.open();
        const report = await rootless(lab, program);
        expect(report).toMatchObject({ program, uid: 65534 });
        expect(report.out).toMatch(/^outside /);
        expect(report.in).toMatch(/^rootless /);
      });
    }

    it('and without a program for it containers reach nothing outside, which is said plainly', async () => {
      await using lab = await Lab.open();
      const report = await rootless(lab, 'none');
      expect([report.program, report.out, report.in]).toEqual([undefined, undefined, undefined]);
      expect(report.warning).toContain('pasta and slirp4netns are not installed');
    });
  });
}
