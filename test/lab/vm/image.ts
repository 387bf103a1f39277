/**
 * The disk that the virtual machine starts from: Debian's kernel, C library and busybox, this Node, and the checkout's
 * node_modules. Made once for a state of these, and kept in `.cache/vm`.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
  chmod,
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  readFile,
  readdir,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { firstDependency, packageFolder } from '../debian.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..', '..');
export const CACHE = join(ROOT, '.cache', 'vm');
const GUEST = join(import.meta.dirname, 'guest');

/** What a machine starts from. */
export interface BootImage {
  kernel: string;
  initrd: string;
  /** Raw ext4 file system; only read. */
  disk: string;
}

/** Pure cgroup v2 and a kernel two years older than the newest one that people run: Debian 12 has 6.1. */
export const KERNEL = 'linux-image-cloud-amd64';
/**
 * What Node is linked with; busybox; a shell and an unshare(1) that, unlike busybox's, run the programs on the PATH; and
 * those of GNU's that tests ask for what busybox cannot tell.
 */
const PACKAGES = (
  'libc6 libstdc++6 libgcc-s1 busybox-static dash util-linux libmount1 libblkid1 ' +
  'tar coreutils findutils diffutils libacl1 libattr1 libgmp10 libselinux1 libpcre2-8-0'
).split(' ');
/** Parts of the kernel's modules: what container and network tests use, and the disks. */
export const MODULES = (
  'block lib fs/overlayfs fs/xfs drivers/virtio drivers/block/virtio_blk.ko drivers/block/loop.ko drivers/net/veth.ko ' +
  'drivers/net/dummy.ko drivers/net/macvlan.ko drivers/net/ipvlan net/802 net/8021q net/llc net/bridge net/netfilter net/ipv4 net/ipv6 net/sctp'
).split(' ');
/** Modules that the initial root needs. */
const FIRST_MODULES = ['drivers/virtio', 'drivers/block/virtio_blk.ko'];
/** Tools that no test runs; half of node_modules. */
const LEFT_OUT = /^(?:@pnpm\+|pnpm@|@?typescript|@?oxlint|@?oxfmt|node-linux-)/;

/** The image for the present state, made when it is not there yet (about 20 seconds). @throws when Debian has no part */
export async function bootImage(): Promise<BootImage> {
  const kernel = await firstDependency(KERNEL);
  const folder = join(CACHE, await stateOf(kernel));
  if (!existsSync(folder)) await make(kernel, folder);
  return { kernel: join(folder, 'kernel'), initrd: join(folder, 'initrd'), disk: join(folder, 'disk') };
}

/** A name for everything that the image is made of. */
async function stateOf(kernel: string): Promise<string> {
  const hash = createHash('sha256').update(`${kernel} ${process.version}\n`);
  const guest = ['first.sh', 'init.sh'].map((name) => join(GUEST, name));
  const parts = [import.meta.filename, ...guest, join(ROOT, 'pnpm-lock.yaml')];
  for (const part of parts) hash.update(await readFile(part));
  return hash.digest('hex').slice(0, 16);
}

async function make(kernel: string, folder: string): Promise<void> {
  await mkdir(CACHE, { recursive: true });
  const outdated = await readdir(CACHE);
  const work = await mkdtemp(join(CACHE, '.making-'));
  try {
    const kernelFolder = await packageFolder(kernel);
    const version = (await readdir(join(kernelFolder, 'lib/modules')))[0]!;
    await copyFile(join(kernelFolder, 'boot', `vmlinuz-${version}`), join(work, 'kernel'));
    const modules = join(kernelFolder, 'lib/modules', version);
    await makeInitrd(work, modules, version);
    await makeDisk(work, modules, version);
    // images of earlier states, and what a killed run has left
    for (const name of outdated) await rm(join(CACHE, name), { recursive: true, force: true });
    await rename(work, folder);
  } catch (error) {
    // another process was faster: its image is as good
    if (!existsSync(folder)) throw error;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

export async function makeInitrd(work: string, modules: string, version: string): Promise<void> {
  const root = join(work, 'initial-root');
  for (const name of ['bin', 'dev', 'root']) await mkdir(join(root, name), { recursive: true });
  const busybox = join(root, 'bin/busybox');
  await copyFile(join(await packageFolder('busybox-static'), 'bin/busybox'), busybox);
  await copyModules(modules, root, version, FIRST_MODULES, busybox);
  await copyFile(join(GUEST, 'first.sh'), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  const archive = 'find . | "$0" cpio -o -H newc > "$1" 2> /dev/null';
  await run('sh', ['-c', archive, busybox, join(work, 'initrd')], { cwd: root });
  await rm(root, { recursive: true });
}

export async function copyModules(
  from: string,
  root: string,
  version: string,
  names: readonly string[],
  busybox: string,
): Promise<void> {
  const to = join(root, 'lib/modules', version);
  const compressed = (name: string): string => (existsSync(join(from, 'kernel', name)) ? name : `${name}.xz`);
  for (const name of names.map(compressed)) {
    await cp(join(from, 'kernel', name), join(to, 'kernel', name), { recursive: true });
  }
  for (const name of await readdir(from)) {
    if (name.startsWith('modules.')) await copyFile(join(from, name), join(to, name));
  }
  await run(busybox, ['depmod', '-b', root, version]);
}

async function makeDisk(work: string, modules: string, version: string): Promise<void> {
  const root = join(work, 'root');
  await mkdir(join(root, 'usr'), { recursive: true });
  for (const name of ['bin', 'lib', 'lib64']) {
    await mkdir(join(root, 'usr', name));
    await symlink(`usr/${name}`, join(root, name));
  }
  // where the kernel looks for modprobe
  for (const name of ['usr/sbin', 'sbin']) await symlink('bin', join(root, name));
  for (const name of ['dev', 'proc', 'sys', 'run', 'tmp', 'repo', 'root', 'var/tmp', 'etc']) {
    await mkdir(join(root, name), { recursive: true });
  }
  for (const name of PACKAGES) await unpack(await packageFolder(name), root);
  const busybox = join(root, 'bin/busybox');
  const { stdout: applets } = await run(busybox, ['--list']);
  for (const name of applets.trim().split('\n')) {
    const place = join(root, 'bin', name);
    if (!existsSync(place)) await symlink('busybox', place);
  }
  await copyModules(modules, root, version, MODULES, busybox);
  await copyFile(join(GUEST, 'init.sh'), join(root, 'init'));
  await chmod(join(root, 'init'), 0o755);
  await linkTree(process.execPath, join(root, 'bin/node'));
  await copyDependencies(join(root, 'node_modules'));
  await writeFile(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  await writeFile(join(root, 'etc/group'), 'root:x:0:\n');
  await makeFileSystem(join(work, 'disk'), await sizeMiB(root), root);
  await rm(root, { recursive: true });
}

/** An ext4 file system in a new file, with a copy of a folder or empty. */
export async function makeFileSystem(file: string, sizeMiB: number, folder?: string): Promise<void> {
  const options = ['-q', '-t', 'ext4', '-O', '^has_journal', '-m', '0', ...(folder ? ['-d', folder] : [])];
  // its usual place, which only root has on the PATH
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
  await run('mke2fs', [...options, file, `${sizeMiB}M`], { env });
}

/** A package over a root whose /bin and the like are links into /usr. */
export async function unpack(folder: string, root: string): Promise<void> {
  const copy = 'tar -c -C "$0" --exclude=./usr/share . | tar -x -C "$1" --keep-directory-symlink';
  await run('sh', ['-c', copy, folder, root]);
}

/** node_modules as pnpm has laid it out, without the large tools. */
async function copyDependencies(to: string): Promise<void> {
  const from = join(ROOT, 'node_modules');
  await mkdir(join(to, '.pnpm'), { recursive: true });
  for (const name of await readdir(join(from, '.pnpm'))) {
    if (!LEFT_OUT.test(name)) await linkTree(join(from, '.pnpm', name), join(to, '.pnpm', name));
  }
  for (const name of await readdir(from)) {
    if (name !== '.pnpm' && name !== '.vite') await linkTree(join(from, name), join(to, name));
  }
}

/** Files as further links where that goes: the copy is only there to be read once. */
async function linkTree(from: string, to: string): Promise<void> {
  await run('cp', ['-al', from, to]).catch(() => run('cp', ['-a', from, to]));
}

/** Enough for the tree in ext4, with its tables. */
export async function sizeMiB(root: string): Promise<number> {
  const { stdout } = await run('du', ['-sm', '--apparent-size', root]);
  return Math.ceil(Number.parseInt(stdout, 10) * 1.4) + 64;
}
