/** What people at a terminal are told besides the error, what scripts are not, and colours. */
import { spawnSync } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer, type Script } from './peer.ts';

const failing =
  (message: string, status = 500): Script =>
  (seen, path) =>
    seen.method === 'GET' ? machine()(seen, path) : { status, json: { message } };

async function hint(script: Script, args: string[], env: Record<string, string> = {}): Promise<string> {
  await using peer = await startPeer(script);
  const { stderr } = await tare(peer.host, args, { terminal: true, env });
  return /^Hint: .*$/m.exec(stderr)?.[0] ?? '';
}

describe('a hint', () => {
  it('names the container, image or network that was probably meant', async () => {
    const missing = (what: string): Script => failing(what, 404);
    expect(await hint(missing('No such container: d2x'), ['stop', 'd2x'])).toMatch(/did you mean 'd\d'\?/);
    expect(await hint(missing('No such image: busyboks:1.37'), ['rmi', 'busyboks:1.37'])).toBe(
      "Hint: did you mean 'busybox'?",
    );
    expect(await hint(missing('network brigde not found'), ['network', 'rm', 'brigde'])).toBe(
      "Hint: did you mean 'bridge'?",
    );
  });

  it.each([
    ['Bind for 0.0.0.0:8080 failed: port is already allocated', /publish=8080/],
    ['Conflict. The container name "/web" is already in use by container "abc"', /tare rm -f web/],
    ['write /var/lib/tare/x: no space left on device', /tare system prune/],
    ['database or disk is full', /tare system prune/],
    [
      'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
      /registry-mirrors/,
    ],
  ])('says what to do about: %s', async (message, words) => {
    expect(await hint(failing(message), ['start', 'd1'])).toMatch(words);
  });

  it('is not given to scripts, nor to those who want none', async () => {
    const script = failing('No such image: busyboks:1.37', 404);
    await using peer = await startPeer(script);
    const { stderr } = await tare(peer.host, ['rmi', 'busyboks:1.37']);
    expect(stderr).toBe('Error response from daemon: No such image: busyboks:1.37\n');
    expect(await hint(script, ['rmi', 'busyboks:1.37'], { DOCKER_CLI_HINTS: 'false' })).toBe('');
  });
});

describe('the doctor', () => {
  it('does not call a daemon that is not there yet something to do without', async () => {
    const { stdout } = await tare('unix:///nonexistent', ['doctor']);
    if (!stdout.includes('✗')) expect(stdout).toContain('\nContainers can run here once the daemon answers');
  });
});

const start = join(import.meta.dirname, '..', '..', 'src', 'cli', 'start.ts');
const AS_NOBODY = ['--reuid', '65534', '--regid', '65534', '--clear-groups', '--'];
const nobody =
  process.getuid?.() === 0 && spawnSync('setpriv', [...AS_NOBODY, 'test', '-r', start]).status === 0
    ? ''
    : ' (skipped: needs root, and a checkout that others can read)';

describe('the doctor of a user', () => {
  it.skipIf(nobody)(`tells a socket that refuses him from a daemon that is not there${nobody}`, async () => {
    await using peer = await startPeer(machine());
    await chmod(dirname(peer.socketPath), 0o755);
    await chmod(peer.socketPath, 0o600);
    const words = [process.execPath, '--conditions=@tare/source', start, '-H', peer.host, 'doctor'];
    const { stdout } = await run('setpriv', [...AS_NOBODY, ...words], { env: { HOME: '/nonexistent' } });
    expect(stdout).toContain('! daemon      the socket at');
    expect(stdout).toContain('whether the daemon runs cannot be told');
  });
});

describe('colour', () => {
  it('is for terminals, unless NO_COLOR is set', async () => {
    const doctor = async (options: { terminal?: boolean; env?: Record<string, string> }) =>
      (await tare('unix:///nonexistent', ['doctor', '--machine'], options)).stdout.includes('\x1b[');
    expect(await doctor({ terminal: true })).toBe(true);
    expect(await doctor({ terminal: true, env: { NO_COLOR: '1' } })).toBe(false);
    expect(await doctor({ terminal: true, env: { TERM: 'dumb' } })).toBe(false);
    expect(await doctor({})).toBe(false);
  });
});
