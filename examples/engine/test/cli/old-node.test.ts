/** The command under a Node.js that is too old: one line says so, whatever was asked. */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LEAST_NODE } from '../../src/doctor/checks.ts';

const ENGINE = join(import.meta.dirname, '..', '..');
const LAUNCHER = join(ENGINE, 'bin', 'tare.mjs');
const built = existsSync(join(ENGINE, 'dist', 'start.js'));
const entries = built ? [LAUNCHER, join(ENGINE, 'dist', 'tare.js')] : [LAUNCHER];

const isOld = (version: string): boolean => {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < LEAST_NODE[0]! || (major === LEAST_NODE[0] && minor < LEAST_NODE[1]!);
};

/** The first Node.js in PATH that is too old: often the machine's own. */
function oldNode(): { path: string; version: string } | undefined {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, 'node');
    if (!existsSync(path)) continue;
    const [execPath, version] = execFileSync(path, ['-p', 'process.execPath + " " + process.versions.node'])
      .toString()
      .trim()
      .split(' ');
    if (isOld(version!)) return { path: execPath!, version: version! };
  }
  return undefined;
}

const run = (node: string, args: readonly string[]) =>
  spawnSync(node, args, { encoding: 'utf8', env: { PATH: process.env.PATH, HOME: '/nonexistent' } });

const words = (path: string, version: string): string =>
  `tare: needs Node.js ${LEAST_NODE.join('.')} or newer, and ${path} is ${version}: ` +
  `put a newer one first in PATH, or install a release of Tare, which has its own\n`;

const requests = [[], ['version'], ['daemon', '--help'], ['doctor'], ['run', '--rm', 'hello-world']];
const old = oldNode();

describe('the command', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'node-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** Loads before everything: this Node.js says that it is of `version` and lacks what that one had not. */
  async function pretend(version: string): Promise<string> {
    const file = join(folder, `${version}.cjs`);
    await writeFile(
      file,
      `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '${version}' } });
       ${isOld(version) ? 'delete process.getBuiltinModule;' : ''}
       for (const name of ['DisposableStack', 'AsyncDisposableStack', 'SuppressedError']) delete globalThis[name];\n`,
    );
    return file;
  }

  it.each(['12.22.12', '16.20.2', '20.20.2', '22.18.0'])(
    'says that Node.js %s is too old',
    async (version) => {
      const preload = await pretend(version);
      for (const entry of entries)
        for (const request of requests) {
          const { stdout, stderr, status } = run(process.execPath, ['-r', preload, entry, ...request]);
          expect({ stdout, stderr, status }).toEqual({
            stdout: '',
            stderr: words(process.execPath, version),
            status: 1,
          });
        }
    },
  );

  it.skipIf(!built)(
    `runs with ${LEAST_NODE.join('.')}${built ? '' : ' (skipped: needs the bundle)'}`,
    async () => {
      const preload = await pretend(`${LEAST_NODE.join('.')}.0`);
      for (const entry of entries) {
        const { stdout, status } = run(process.execPath, ['-r', preload, entry, '--help']);
        expect(stdout).toMatch(/^Usage: +tare /m);
        expect(status).toBe(0);
      }
    },
  );

  const root = built && process.getuid?.() === 0;
  it.skipIf(!root)(
    `starts a daemon with it, too${root ? '' : ' (skipped: needs root and the bundle)'}`,
    async () => {
      const preload = await pretend(`${LEAST_NODE.join('.')}.0`);
      const flags = ['--config-file', '/dev/null', '--pidfile', join(folder, 'pid'), '--exec-root', folder];
      // as far as it goes: its data have no place below a file
      const none = join(preload, 'data');
      const { stderr } = run(process.execPath, [
        '-r',
        preload,
        LAUNCHER,
        'daemon',
        ...flags,
        '--data-root',
        none,
      ]);
      expect(stderr).toMatch(/^tare daemon: cannot make the folder /m);
    },
  );

  it('has nothing at its door that Node.js 12 could not parse', async () => {
    const source = readFileSync(LAUNCHER, 'utf8');
    const [then, now] = await Promise.all(
      ['node12.20', 'esnext'].map((target) => transform(source, { target })),
    );
    expect(then!.code).toBe(now!.code);
  });

  it.skipIf(!old)(
    `says so to the old Node.js of this machine${old ? '' : ' (skipped: none in PATH)'}`,
    () => {
      for (const entry of entries)
        for (const request of requests) {
          const { stdout, stderr, status } = run(old!.path, [entry, ...request]);
          expect({ stdout, stderr, status }).toEqual({
            stdout: '',
            stderr: words(old!.path, old!.version),
            status: 1,
          });
        }
    },
  );
});
