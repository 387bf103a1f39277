/** What the tests of builds share: a lab, contexts written from objects, and the clients that build them. */
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

/** Files of a context: text, or bytes. `FROM busybox` means the lab's. */
export type Files = Record<string, string | Uint8Array>;

type Options = { input?: string; env?: Record<string, string>; timeoutMs?: number };

/** Why builds with buildx cannot be tested here, or undefined. */
export function missingForBuildx(): string | undefined {
  const missing = missingForEndToEnd();
  return missing ?? (componentPath(COMPONENTS.buildx) === undefined ? 'needs docker-buildx' : undefined);
}

/** A lab to build in. */
export interface BuildLab extends AsyncDisposable {
  lab: Lab;
  /** For files of the tests. */
  folder: string;
  /** Writes a context. */
  context(files: Files): Promise<string>;
  /** `docker buildx …` */
  buildx(args: readonly string[], options?: Options): Promise<Finished>;
  /** `docker buildx build` of files; it may fail. */
  build(files: Files, ...args: string[]): Promise<Finished>;
  /** The same, named `built`. @returns what it said @throws when it fails */
  built(files: Files, ...args: string[]): Promise<string>;
  /** What a command says in the image `built`. */
  inImage(...argv: string[]): Promise<string>;
  /** No build has left anything. */
  expectNothingLeft(): Promise<void>;
}

/** Starts everything. */
export async function startBuildLab(options: Parameters<typeof startLab>[0] = {}): Promise<BuildLab> {
  const lab = await startLab(options);
  const folder = await mkdtemp(join(tmpdir(), 'buildx-'));
  await mkdir(join(folder, 'config/cli-plugins'), { recursive: true });
  const plugin = componentPath(COMPONENTS.buildx);
  if (plugin !== undefined) await symlink(plugin, join(folder, 'config/cli-plugins/docker-buildx'));
  let contexts = 0;
  const self: BuildLab = {
    lab,
    folder,
    async context(files) {
      contexts += 1;
      const directory = join(folder, `context-${contexts}`);
      await mkdir(directory);
      for (const [name, content] of Object.entries(files)) {
        await mkdir(dirname(join(directory, name)), { recursive: true });
        const text =
          typeof content === 'string' ? content.replaceAll('FROM busybox', `FROM ${lab.busybox}`) : content;
        await writeFile(join(directory, name), text);
      }
      return directory;
    },
    buildx: (args, { env, ...rest } = {}) =>
      run(componentPath(COMPONENTS.docker)!, ['buildx', ...args], {
        env: {
          PATH: process.env.PATH,
          HOME: folder,
          DOCKER_CONFIG: join(folder, 'config'),
          DOCKER_HOST: lab.host,
          ...env,
        },
        timeoutMs: 60_000,
        ...rest,
      }),
    build: async (files, ...args) =>
      self.buildx(['build', '--progress', 'plain', ...args, await self.context(files)]),
    async built(files, ...args) {
      const result = await self.build(files, '-t', 'built', ...args);
      if (result.code !== 0) throw new Error(`${result.stdout}\n${result.stderr}\n${lab.daemon.output()}`);
      return result.stderr;
    },
    inImage: (...argv) => lab.ok(['run', '--rm', 'built', ...argv]),
    async expectNothingLeft() {
      expect(await readdir(join(lab.dataRoot, 'builder/contexts'))).toEqual([]);
      expect(await readdir(join(lab.dataRoot, 'builder/mounts'))).toEqual([]);
      expect(await lab.ok(['ps', '-aq'])).toBe('');
    },
    async [Symbol.asyncDispose]() {
      await lab[Symbol.asyncDispose]();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return self;
}
