/** Daemons on other machines: ssh is stood in for by a program that runs the far side's command here. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { frame, startPeer, type Peer, type Script } from './peer.ts';

const start = join(import.meta.dirname, '..', '..', 'src', 'cli', 'start.ts');
let folder: string;
let peer: Peer;
const exit = { StatusCode: 4 };
const id = 'e'.repeat(64);
const answers: Script = (seen, path) => {
  if (path === 'POST /containers/create') return { status: 201, json: { Id: id, Warnings: [] } };
  if (path === `POST /containers/${id}/start`) return { status: 204 };
  if (path === `POST /containers/${id}/wait`)
    return { later: new Promise((done) => setTimeout(done, 300, exit)) };
  if (path === `POST /containers/${id}/attach`) {
    return {
      async talk(socket) {
        let heard = '';
        for await (const chunk of socket.iterator({ destroyOnReturn: false })) heard += String(chunk);
        socket.end(frame(1, `heard ${heard}`));
      },
    };
  }
  return machine()(seen, path);
};

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ssh-'));
  peer = await startPeer(answers);
  await program('ssh', 'echo "$@" > "$LOG"; for last; do :; done; exec sh -c "$last"');
  await program(
    'tare',
    `exec "${process.execPath}" --conditions=@tare/source "${start}" -H "${peer.host}" "$@"`,
  );
});
afterEach(async () => {
  await peer[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function program(name: string, script: string): Promise<void> {
  await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(folder, name), 0o755);
}

function command(args: readonly string[], input = '') {
  return run(process.execPath, ['--conditions=@tare/source', start, ...args], {
    env: { PATH: `${folder}:${process.env.PATH}`, HOME: folder, LOG: join(folder, 'log') },
    input,
  });
}

describe('ssh://', () => {
  it('carries requests through the command line of the far side', async () => {
    const { stdout, stderr, code } = await command(['-H', 'ssh://kim@far.example:2222', 'ps', '-q']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout.trim().split('\n').length).toBeGreaterThan(1);
    expect(peer.seen.map(({ target }) => target)).toEqual(['/containers/json']);
    const { stdout: words } = await run('cat', [join(folder, 'log')]);
    expect(words).toMatch(/^-o ConnectTimeout=30 -T -l kim -p 2222 -- far\.example sh -c /);
  });

  it('carries the streams of containers, each way to its end', async () => {
    const { stdout, stderr, code } = await command(
      ['-H', 'ssh://far.example', 'run', '-i', 'busybox'],
      'a question',
    );
    expect([stdout, stderr, code]).toEqual(['heard a question', '', 4]);
  });

  it('says what ssh said when there is no connection', async () => {
    await program('ssh', 'echo "ssh: Could not resolve hostname far.example" >&2; exit 255');
    const { stderr, code } = await command(['-H', 'ssh://far.example', 'ps']);
    expect(code).toBe(1);
    expect(stderr).toContain('Could not resolve hostname far.example');
  });

  it.each(['ssh://user:secret@host', 'ssh://-oProxyCommand=x', 'ssh://host?x=y'])(
    'refuses %s',
    async (host) => {
      const { stderr, code } = await tare(undefined, ['-H', host, 'ps']);
      expect(code).toBe(1);
      expect(stderr).toMatch(/unable to parse docker host|Invalid URL/);
      expect(stderr).not.toContain('secret');
    },
  );
});

describe('system dial-stdio', () => {
  it('hands on bytes both ways, and ends with the daemon', async () => {
    const { stdout, code } = await command(
      ['-H', peer.host, 'system', 'dial-stdio'],
      'GET /v1.51/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^HTTP\/1\.1 200 OK\r\n[\s\S]*"ApiVersion"/);
  });
});
