/** Contexts: as the stock docker CLI has them, and what a client makes of one. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { playContexts, type Step } from './context-script.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer } from './peer.ts';

const fixtures = new URL('fixtures/docker-28-contexts.json', import.meta.url);

describe('context', () => {
  it('does and says what docker was recorded to', async () => {
    const recorded = JSON.parse(await readFile(fixtures, 'utf8')) as Step[];
    const played = await playContexts((args, options) => tare(undefined, args, options));
    expect(played).toEqual(recorded);
  });

  it('takes no file for a context that is none', async () => {
    await using home = await temporaryHome();
    await writeFile(join(home.path, 'f'), 'nothing of the kind');
    const options = { env: { HOME: home.path }, cwd: home.path };
    const { code, stderr } = await tare(undefined, ['context', 'import', 'ff', 'f'], options);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^invalid context: /)]);
    expect((await tare(undefined, ['context', 'ls', '-q'], options)).stdout).toBe('default\n');
  });

  it('names the daemon that commands go to, unless a host is given', async () => {
    await using peer = await startPeer(machine());
    await using other = await startPeer(machine());
    await using home = await temporaryHome();
    const options = { env: { HOME: home.path } };
    await tare(undefined, ['context', 'create', 'mine', '--docker', `host=${peer.host}`], options);
    expect((await tare(undefined, ['--context', 'mine', 'ps', '-q'], options)).code).toBe(0);
    expect(peer.seen).toHaveLength(1);
    await tare(undefined, ['context', 'use', 'mine'], options);
    expect((await tare(undefined, ['ps', '-q'], options)).code).toBe(0);
    expect(peer.seen).toHaveLength(2);
    const elsewhere = { env: { ...options.env, DOCKER_HOST: other.host } };
    expect((await tare(undefined, ['ps', '-q'], elsewhere)).code).toBe(0);
    expect((await tare(other.host, ['ps', '-q'], options)).code).toBe(0);
    expect([peer.seen.length, other.seen.length]).toEqual([2, 2]);
    const { stdout } = await tare(undefined, ['version', '--format', '{{.Client.Context}}'], options);
    expect(stdout).toBe('mine\n');
  });
});

async function temporaryHome(): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'home-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
