/** A Debian root file system and a package repository, made of packages fetched once: for builds of real projects. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const CACHE = join(import.meta.dirname, '..', '..', '.cache', 'debian-base');

/** What is installed in the base: enough for apt-get. */
const BASE = [
  'apt',
  'dash',
  'coreutils',
  'dpkg',
  'grep',
  'sed',
  'tar',
  'gzip',
  'libstdc++6',
  'diffutils',
  'libc-bin',
  'perl-base',
  'findutils',
];
/** What can be installed from the repository: a small compiler and what its programs need. */
const OFFERED = ['tcc', 'libc6-dev'];

const SETTINGS = [
  '--no-recommends',
  '--no-suggests',
  '--no-conflicts',
  '--no-breaks',
  '--no-replaces',
  '--no-enhances',
];

/** Whether the packages are here, so that nothing has to be fetched. */
function hasDebianBase(): boolean {
  return existsSync(join(CACHE, 'base'));
}

/** Fetches what is missing. @throws when apt-get cannot have it */
export async function fetchDebianBase(): Promise<void> {
  if (hasDebianBase()) return;
  await mkdir(join(CACHE, '..'), { recursive: true });
  const work = await mkdtemp(join(CACHE, '..', '.base-'));
  try {
    const base = await closure(BASE);
    const offered = (await closure(OFFERED)).filter((name) => !base.includes(name));
    await download(join(work, 'base'), base);
    await download(join(work, 'offered'), offered);
    await rm(CACHE, { recursive: true, force: true });
    await rename(work, CACHE);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Second choices, which cannot be there beside the first. */
const OTHERS = /^(?:libelogind0|cdebconf|libdebian-installer4|libnewt0|libslang2|libtextwrap1|gpgv[12])/;

/** Names of packages and of all that they depend on. */
async function closure(names: readonly string[]): Promise<string[]> {
  const { stdout } = await run('apt-cache', ['depends', '--recurse', ...SETTINGS, ...names]);
  const found = stdout.split('\n').filter((line) => /^[a-z0-9]/.test(line) && !OTHERS.test(line));
  return [...new Set(found)].sort();
}

async function download(folder: string, names: readonly string[]): Promise<void> {
  await mkdir(folder);
  await run('apt-get', ['download', '-qq', '-o', 'APT::Sandbox::User=root', ...names], { cwd: folder });
}

/** Unpacks the base into `root`, as if dpkg had installed it: its scripts are left out. */
export async function unpackDebianBase(root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  // as every Debian since 12 has it
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(root, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(root, name));
  }
  const records: string[] = [];
  for (const file of await readdir(join(CACHE, 'base'))) {
    const archive = join(CACHE, 'base', file);
    // an archive of its own: dpkg-deb would replace the links
    await run('sh', [
      '-c',
      'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"',
      'sh',
      archive,
      root,
    ]);
    const { stdout } = await run('dpkg-deb', ['-f', archive]);
    records.push(stdout.trim().replace(/^(Package: .*)$/m, '$1\nStatus: install ok installed'));
  }
  const dpkg = join(root, 'var/lib/dpkg');
  await mkdir(join(dpkg, 'info'), { recursive: true });
  await mkdir(join(dpkg, 'updates'), { recursive: true });
  await mkdir(join(root, 'var/cache/apt/archives/partial'), { recursive: true });
  await mkdir(join(root, 'tmp'), { recursive: true, mode: 0o1777 });
  await writeFile(join(dpkg, 'status'), `${records.join('\n\n')}\n`);
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(
    join(root, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\n_apt:x:100:65534::/nonexistent:/usr/sbin/nologin\n',
  );
  await writeFile(join(root, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
}

/** Makes `folder` a flat package repository with what the base lacks. */
export async function makeRepository(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const records: string[] = [];
  for (const [i, name] of (await readdir(join(CACHE, 'offered'))).sort().entries()) {
    // names of packages have letters that addresses escape
    const file = `${i}.deb`;
    await cp(join(CACHE, 'offered', name), join(folder, file));
    const bytes = await readFile(join(folder, file));
    const { stdout } = await run('dpkg-deb', ['-f', join(folder, file)]);
    const fields = [
      `Filename: ./${file}`,
      `Size: ${bytes.length}`,
      `SHA256: ${createHash('sha256').update(bytes).digest('hex')}`,
    ];
    records.push([stdout.trim(), ...fields].join('\n'));
  }
  await writeFile(join(folder, 'Packages'), `${records.join('\n\n')}\n`);
}
