/**
 * The release, installed, used, upgraded and taken away again, without the checkout: here in namespaces that hide what
 * is installed on this machine; with `--full` in a virtual machine that systemd has booted.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { prepareSystemdMachine, runUnderSystemd } from '../../../../test/lab/vm/systemd.ts';
import { fillPayload, missingForRelease } from './payload.ts';

const missing = process.getuid?.() === 0 ? missingForRelease() : 'needs root';
const full = process.env.TARE_TEST_FULL === '1';
/** Node.js starts twenty times, in an emulator. */
const LIMIT_SECONDS = 900;

/** Hides the folders that an installation writes to, and the network. */
const HIDE = `
set -e
mount --make-rprivate /
mkdir hidden
mount -t tmpfs tmpfs hidden
mkdir hidden/etc hidden/work
mount -t overlay -o lowerdir=/etc,upperdir=hidden/etc,workdir=hidden/work overlay /etc
for folder in /run /usr/local /var/lib; do mount -t tmpfs tmpfs $folder; done
mkdir /usr/local/bin /usr/local/lib
ip link set lo up
exec sh story.sh
`;

describe.skipIf(missing !== undefined)(`a release${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'rel-'));
    await fillPayload(folder);
  }, 180_000);
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it(
    'is installed, runs hello-world from a mirror, is upgraded below a running container, and leaves nothing',
    {
      timeout: 120_000,
    },
    async () => {
      await writeFile(join(folder, 'hide.sh'), HIDE);
      const { stdout, stderr, code } = await run(
        'unshare',
        ['--mount', '--net', '--pid', '--fork', '--mount-proc', '--kill-child', 'sh', 'hide.sh'],
        { cwd: folder, timeoutMs: 110_000, env: { PATH: process.env.PATH } },
      );
      expect(stdout.trim().split('\n').at(-1), `${stdout}\n${stderr}`).toBe('all done');
      expect(code).toBe(0);
    },
  );

  it.skipIf(!full)(
    'does the same as a service of systemd, on a machine of its own (with --full)',
    {
      timeout: (LIMIT_SECONDS + 60) * 1000,
    },
    async () => {
      const machine = await prepareSystemdMachine();
      const console = await runUnderSystemd(machine, folder, 'sh story.sh', { limitSeconds: LIMIT_SECONDS });
      expect(
        console
          .trimEnd()
          .split('\n')
          .map((line) => line.trim()),
        console,
      ).toContain('all done');
    },
  );
});
