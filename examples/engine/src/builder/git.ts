/** Git repositories as directories: contexts of builds and sources of ADD. Works through the host's `git`. */
import { execFile } from 'node:child_process';
import { lstat, mkdir, rename, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { promisify } from 'node:util';

import { invalid, systemError } from '../errors.ts';

const run = promisify(execFile);

/** What an address of a repository says. */
export interface GitReference {
  /** Without what follows `#` or `?`. */
  remote: string;
  /** Branch, tag or commit; undefined for the remote's own choice. */
  ref: string | undefined;
  /** Directory in the repository that is taken; undefined for all of it. */
  subdirectory: string | undefined;
}

/**
 * Reads an address: `https://host/x.git#ref:directory`, `git://…`, `ssh://…`, `git@host:x`, `github.com/x/y`, and
 * BuildKit's query form `?ref=…&subdir=…`. Pure.
 *
 * @returns undefined for an address of something else
 */
export function parseGitReference(text: string): GitReference | undefined {
  const [whole = '', fragment = ''] = splitOnce(text, '#');
  const [remote = '', query = ''] = splitOnce(whole, '?');
  const isGit =
    /^(?:git|ssh):\/\//.test(remote) ||
    /^[\w.-]+@[\w.-]+:/.test(remote) ||
    (/^https?:\/\//.test(remote) && remote.endsWith('.git')) ||
    remote.startsWith('github.com/');
  if (!isGit) return undefined;
  const [ref = '', subdirectory = ''] = splitOnce(fragment, ':');
  const fields = new URLSearchParams(query);
  return {
    remote: remote.startsWith('github.com/') ? `https://${remote}` : remote,
    ref: ref || (fields.get('ref') ?? fields.get('branch') ?? fields.get('tag') ?? undefined),
    subdirectory: subdirectory || (fields.get('subdir') ?? undefined),
  };
}

/** How a repository is taken. */
export interface CheckoutOptions {
  /** Keep the repository's `.git`. Default: no. */
  keepGitDirectory?: boolean;
  signal: AbortSignal;
}

/**
 * Takes one commit of a repository, its submodules too, into a directory that is not there yet.
 *
 * @returns the commit
 * @throws {EngineError} `INVALID` for an address that cannot be had, in git's words; `SYSTEM` without git
 */
export async function checkoutGit(
  { remote, ref, subdirectory }: GitReference,
  directory: string,
  { keepGitDirectory = false, signal }: CheckoutOptions,
): Promise<string> {
  for (const word of [remote, ref]) {
    // git would take it for an option
    if (word?.startsWith('-'))
      throw invalid(`${JSON.stringify(word)} cannot be part of a repository's address`);
  }
  const checkout = `${directory}.git-checkout`;
  try {
    await mkdir(checkout, { recursive: true, mode: 0o755 });
    const git: Git = (...args) => runGit(checkout, args, signal);
    await git('init', '--quiet');
    await git('checkout', '--quiet', '--detach', await fetch(git, remote, ref ?? 'HEAD'));
    await git('submodule', '--quiet', 'update', '--init', '--recursive', '--depth=1');
    const commit = (await git('rev-parse', 'HEAD')).trim();
    if (!keepGitDirectory) await rm(join(checkout, '.git'), { recursive: true });
    await rename(await within(checkout, subdirectory), directory);
    return commit;
  } finally {
    await rm(checkout, { recursive: true, force: true });
  }
}

type Git = (...args: string[]) => Promise<string>;

/** Fetches as little as the remote lets us. @returns what to check out */
async function fetch(git: Git, remote: string, ref: string): Promise<string> {
  const only = async (...depth: string[]): Promise<string> => {
    await git('fetch', '--quiet', ...depth, '--no-tags', '--', remote, ref);
    return 'FETCH_HEAD';
  };
  try {
    return await only('--depth=1');
  } catch (error) {
    const { message } = error as Error;
    // a file server without git's protocol
    if (message.includes('shallow')) return only();
    // remotes need not give commits by their names, least of all abbreviated ones
    if (!/^[0-9a-f]{7,64}$/.test(ref) || !/(?:not our ref|unadvertised object|find remote ref)/.test(message))
      throw error;
    await git(
      'fetch',
      '--quiet',
      '--',
      remote,
      '+refs/heads/*:refs/remotes/all/*',
      '+refs/tags/*:refs/tags/*',
    );
    return ref;
  }
}

/** A directory of the checkout. No link leads to it: links in a repository are anybody's. */
async function within(checkout: string, subdirectory: string | undefined): Promise<string> {
  let path = checkout;
  for (const name of posix.join('/', subdirectory ?? '').split('/')) {
    if (name === '') continue;
    path = join(path, name);
    const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error;
    });
    if (!found?.isDirectory()) throw invalid(`the repository has no directory ${subdirectory}`);
  }
  return path;
}

async function runGit(directory: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  try {
    const { stdout } = await run('git', [...SETTINGS, ...args], {
      cwd: directory,
      env: environment(),
      signal,
    });
    return stdout;
  } catch (error) {
    signal.throwIfAborted();
    const { code, stderr = '' } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === 'ENOENT')
      throw systemError('git repositories need git on this host: install it', { cause: error });
    const lines = stderr.trim().split('\n');
    const line = lines.find((text) => text.startsWith('fatal:')) ?? lines.at(-1);
    throw invalid(`git ${args[0]} failed: ${line}`, { cause: error });
  }
}

/** Nothing that a repository says is run here. */
const SETTINGS = [
  '-c',
  'core.hooksPath=/dev/null',
  '-c',
  'protocol.file.allow=never',
  '-c',
  'protocol.ext.allow=never',
];

const PROXIES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'no_proxy'];

/** Neither settings nor questions of the user who started the engine. */
function environment(): NodeJS.ProcessEnv {
  const passed = ['PATH', 'SSL_CERT_FILE', 'SSL_CERT_DIR', ...PROXIES].map((name) => [
    name,
    process.env[name],
  ]);
  return {
    ...(Object.fromEntries(passed) as NodeJS.ProcessEnv),
    HOME: '/nonexistent',
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_SSH_COMMAND: 'ssh -o BatchMode=yes',
    LC_ALL: 'C',
  };
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
