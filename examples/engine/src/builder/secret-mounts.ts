/** `RUN --mount=type=secret` and `type=ssh`: what a client lends to one command. It lies in memory alone, and goes with it. */
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, rmdir, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';

import type { CommandMounts, MountPlace, RunMount } from './run-mounts.ts';
import type { SolverParts } from './seams.ts';

/** As BuildKit has it. */
const SECRETS = '/run/secrets';
const AGENTS = '/run/buildkit';

/** Secrets and agents of one command. */
export class SecretMounts {
  readonly #parts: Pick<SolverParts, 'trees' | 'directory'>;
  readonly #place: MountPlace;
  readonly #held: AsyncDisposableStack;
  #directory: Promise<string> | undefined;
  #count = 0;

  /** @param held - gets what removes them */
  constructor(
    parts: Pick<SolverParts, 'trees' | 'directory'>,
    place: MountPlace,
    held: AsyncDisposableStack,
  ) {
    this.#parts = parts;
    this.#place = place;
    this.#held = held;
  }

  /** Adds a secret as a file, a variable or both. @returns whether the client has it */
  async secret(mount: RunMount, result: CommandMounts): Promise<boolean> {
    const data = await this.#place.secrets?.secret(mount.id);
    if (data === undefined) return false;
    if (mount.env !== undefined) result.env.push(`${mount.env}=${Buffer.from(data).toString('utf8')}`);
    if (mount.env !== undefined && mount.target === '') return true;
    const path = await this.#path();
    await writeFile(path, data, { mode: 0o600, flag: 'wx' });
    await chown(path, mount.uid, mount.gid);
    await chmod(path, mount.mode ?? 0o400);
    add(result, path, posix.resolve(SECRETS, mount.target || mount.id), true);
    return true;
  }

  /** Adds a socket that leads to an agent. @returns whether the client has it */
  async agent(mount: RunMount, result: CommandMounts): Promise<boolean> {
    const directory = await this.#open();
    const ended = new AbortController();
    this.#held.defer(() => ended.abort());
    const path = await this.#place.secrets?.agent(mount.id, directory, ended.signal);
    if (path === undefined) return false;
    await chown(path, mount.uid, mount.gid);
    await chmod(path, mount.mode ?? 0o600);
    const target = mount.target || `${AGENTS}/ssh_agent.${this.#count}`;
    this.#count += 1;
    add(result, path, posix.resolve('/', target), false);
    result.env.push(`SSH_AUTH_SOCK=${target}`);
    return true;
  }

  async #path(): Promise<string> {
    return join(await this.#open(), randomBytes(8).toString('hex'));
  }

  /** A file system in memory, below the builder's mounts, where the next start sweeps. */
  #open(): Promise<string> {
    this.#directory ??= this.#mount();
    return this.#directory;
  }

  async #mount(): Promise<string> {
    const { trees, directory } = this.#parts;
    const path = join(directory, 'mounts', `secrets-${randomBytes(8).toString('hex')}`);
    await mkdir(path, { mode: 0o700 });
    this.#held.defer(() => rmdir(path));
    const mounted = trees.mount(
      [{ type: 'tmpfs', source: 'tmpfs', options: ['mode=0700', 'nosuid', 'nodev', 'noexec'] }],
      path,
    );
    this.#held.defer(() => mounted[Symbol.dispose]());
    return path;
  }
}

function add({ mounts }: CommandMounts, source: string, target: string, readOnly: boolean): void {
  mounts.push({ type: 'bind', source, target, readOnly });
}
