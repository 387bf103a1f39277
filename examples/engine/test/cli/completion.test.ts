/** Completion: what may come next, and bash asking for it. */
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { tare } from './drive.ts';
import { machine } from './machine.ts';
import { startPeer, type Peer } from './peer.ts';

const start = join(import.meta.dirname, '..', '..', 'src', 'cli', 'start.ts');
let peer: Peer;
beforeEach(async () => {
  peer = await startPeer(machine());
});
afterEach(() => peer[Symbol.asyncDispose]());

async function complete(line: string): Promise<string[]> {
  const { stdout } = await tare(peer.host, ['__complete', '--', ...line.split(' ')]);
  return stdout.split('\n').flatMap((text) => text.split('\t', 1)[0] || []);
}

describe('completion', () => {
  it('goes from commands to groups to their commands', async () => {
    expect(await complete('pu')).toEqual(['pull', 'push']);
    expect(await complete('volume ')).toEqual(['create', 'inspect', 'ls', 'prune', 'rm']);
    expect(await complete('-H unix:///x -D netw')).toEqual(['network']);
    expect(await complete('nosuch ')).toEqual([]);
  });

  it('knows the flags of a command, and some of their values', async () => {
    expect(await complete('ps --no')).toEqual(['--no-trunc']);
    expect(await complete('run --restart un')).toEqual(['unless-stopped']);
    expect(await complete('run --network ')).toContain('bridge');
  });

  it('asks the daemon for the names of what the argument is', async () => {
    expect(await complete('rm d')).toContain('d1');
    expect(await complete('rmi bus')).toContain('busybox:glibc');
    expect(await complete('network rm br')).toContain('bridge');
    expect(await complete('run --rm -e A=B busy')).toContain('busybox:glibc');
    // what comes after the image is the container's
    expect(await complete('run busybox l')).toEqual([]);
  });

  it('has nothing to offer when no daemon answers', async () => {
    const { code, stdout } = await tare('unix:///nonexistent', ['__complete', '--', 'rm', '']);
    expect([code, stdout]).toEqual([0, '']);
  });

  it('says when names of files are meant', async () => {
    expect(await complete('build ')).toEqual([':files']);
    expect(await complete('load --input ')).toEqual([':files']);
  });

  it('has scripts for bash, zsh and fish', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { code, stdout } = await tare(peer.host, ['completion', shell]);
      expect([code, stdout.includes('tare __complete')]).toEqual([0, true]);
    }
    expect((await tare(peer.host, ['completion', 'csh'])).code).toBe(1);
  });
});

/** The shell's own way of asking: `complete -F` sets COMP_LINE and calls the function. */
const ASK = `
source <(tare completion bash)
ask() {
  COMP_LINE=$1 COMP_POINT=\${#1}
  _tare
  printf '%s\\n' "\${COMPREPLY[@]}"
  echo --
}
ask 'tare vol'
ask 'tare rm d'
ask 'tare rmi busybox:g'
`;

describe.skipIf(!existsSync('/bin/bash'))('in bash', () => {
  it('completes commands, names, and names with colons', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'complete-'));
    try {
      const words = `exec "${process.execPath}" --conditions=@tare/source "${start}" -H "${peer.host}" "$@"`;
      await writeFile(join(folder, 'tare'), `#!/bin/sh\n${words}\n`);
      await chmod(join(folder, 'tare'), 0o755);
      const { stdout, stderr } = await run('/bin/bash', ['-c', ASK], {
        env: { PATH: `${folder}:${process.env.PATH}`, HOME: folder },
      });
      expect(stderr).toBe('');
      const [commands, containers, images] = stdout.split('--\n').map((text) => text.trim().split('\n'));
      expect(commands).toEqual(['volume']);
      expect(containers).toContain('d1');
      // bash has kept what is before the colon
      expect(images).toEqual(['glibc']);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
});
