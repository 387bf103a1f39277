/** Completion: what may come next, and bash, zsh and fish asking for it. */
import { existsSync } from 'node:fs';
import { chmod, cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMPONENTS, componentFolders, componentPath } from '../../../../test/lab/debian.ts';
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

/** A folder for a shell's files, with a `tare` of this checkout that talks to the peer. */
async function withTare<T>(use: (folder: string, env: NodeJS.ProcessEnv) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'complete-'));
  try {
    const words = `exec "${process.execPath}" --conditions=@tare/source "${start}" -H "${peer.host}" "$@"`;
    await writeFile(join(folder, 'tare'), `#!/bin/sh\n${words}\n`);
    await chmod(join(folder, 'tare'), 0o755);
    return await use(folder, { PATH: `${folder}:${process.env.PATH}`, HOME: folder, TERM: 'xterm' });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The shell's own way of asking: `complete -F` sets COMP_LINE and calls the function. */
const ASK_BASH = `
source <(tare completion bash)
ask() {
  COMP_LINE=$1 COMP_POINT=\${#1}
  _tare
  printf '%s\n' "\${COMPREPLY[@]}"
  echo --
}
ask 'tare vol'
ask 'tare rm d'
ask 'tare rmi busybox:g'
`;

describe.skipIf(!existsSync('/bin/bash'))('in bash', () => {
  it('completes commands, names, and names with colons', async () => {
    await withTare(async (_folder, env) => {
      const { stdout, stderr } = await run('/bin/bash', ['-c', ASK_BASH], { env });
      expect(stderr).toBe('');
      const [commands, containers, images] = stdout.split('--\n').map((text) => text.trim().split('\n'));
      expect(commands).toEqual(['volume']);
      expect(containers).toContain('d1');
      // bash has kept what is before the colon
      expect(images).toEqual(['glibc']);
    });
  });
});

/** What zsh has on its line after a tab: it completes nowhere but at a terminal. */
const ZSHRC = `
module_path=($ZSH_ROOT/usr/lib/*/zsh/*(/N))
fpath=($ZSH_COMMON/usr/share/zsh/functions $ZSH_COMMON/usr/share/zsh/functions/**/*(/N))
autoload -U compinit
compinit -u -D
source <(tare completion zsh)
show() { print -r -- "<<$BUFFER>>"; exit }
zle -N show
bindkey '^X' show
`;
const ASK_ZSH = `
module_path=($ZSH_ROOT/usr/lib/*/zsh/*(/N))
zmodload zsh/zpty
for line in "$@"; do
  zpty shell "ZDOTDIR=$HOME exec $ZSH_ROOT/bin/zsh -i -d"
  zpty -w -n shell "$line"$'\t\x18'
  while zpty -r shell part; do print -rn -- $part; done
  zpty -d shell
done
`;
const zsh = componentPath(COMPONENTS.zsh);

describe.skipIf(zsh === undefined)(
  `in zsh${zsh ? '' : ' (skipped: the package zsh cannot be fetched)'}`,
  () => {
    it('completes commands and names with colons', async () => {
      await withTare(async (folder, env) => {
        await writeFile(join(folder, '.zshrc'), ZSHRC);
        await writeFile(join(folder, 'ask'), ASK_ZSH);
        const [root, common] = componentFolders(COMPONENTS.zsh);
        const { stdout } = await run(
          zsh!,
          ['-f', join(folder, 'ask'), 'tare vol', 'tare rmi busybox:gl', 'tare rm d'],
          { env: { ...env, ZSH_ROOT: root, ZSH_COMMON: common }, timeoutMs: 30_000 },
        );
        const lines = [...stdout.matchAll(/<<(.*?)>>/g)].map(([, line]) => line!.trim());
        expect(lines.slice(0, 2)).toEqual(['tare volume', 'tare rmi busybox:glibc']);
        // several: the line stays as it is, and they are listed with what they are
        expect(lines[2]).toMatch(/^tare rm d/);
        expect(stdout).toMatch(/d1 .*-- busybox/);
      });
    });
  },
);

const fish = componentPath(COMPONENTS.fish);

describe.skipIf(fish === undefined)(
  `in fish${fish ? '' : ' (skipped: the package fish cannot be fetched)'}`,
  () => {
    it('completes commands, names, and names with colons, each with what it is', async () => {
      await withTare(async (folder, env) => {
        // it looks for its functions beside itself
        for (const part of componentFolders(COMPONENTS.fish)) await cp(part, folder, { recursive: true });
        const libraries = await readdir(join(folder, 'usr', 'lib'));
        const ask = (line: string): Promise<string> =>
          run(
            join(folder, 'usr', 'bin', 'fish'),
            ['--no-config', '-c', `tare completion fish | source; complete -C '${line}'`],
            { env: { ...env, LD_LIBRARY_PATH: join(folder, 'usr', 'lib', libraries[0]!) } },
          ).then(({ stdout }) => stdout);
        expect(await ask('tare vol')).toBe('volume\tManage volumes\n');
        expect(await ask('tare rm d')).toMatch(/^d1\t/m);
        expect(await ask('tare rmi busybox:gl')).toMatch(/^busybox:glibc/);
      });
    });
  },
);
