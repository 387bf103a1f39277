/**
 * A Debian machine that systemd boots, for what is installed as a service: nothing of the checkout is on it. Made of
 * packages as they are unpacked; of what their scripts would do, only what booting needs.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import {
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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { firstDependency, packageClosure, packageFolder } from '../debian.ts';
import { CACHE, copyModules, KERNEL, makeFileSystem, makeInitrd, MODULES, sizeMiB, unpack } from './image.ts';
import { boot, readable, scratched, type MachineOptions } from './machine.ts';
import { findQemu, type Qemu } from './qemu.ts';

const run = promisify(execFile);

/** A small Debian, with what its users have at hand. */
const PACKAGES = (
  'systemd-sysv base-files base-passwd bash coreutils diffutils findutils gawk grep gzip hostname iproute2 kmod ' +
  'libc-bin libstdc++6 login mount passwd procps sed tar util-linux'
).split(' ');
/** For the scripts of packages, which are not run. */
const LEFT_OUT = /perl|^(?:debconf|dpkg|usrmerge|init-system-helpers)$/;
/** Room for what is installed and run. */
const SPARE_MIB = 1500;

/** Everything to start such machines with. */
export interface SystemdMachine {
  qemu: Qemu;
  kernel: string;
  initrd: string;
  disk: string;
}

/** Finds, fetches and makes what the machine needs; kept for as long as the packages stay. @throws with the reason */
export async function prepareSystemdMachine(): Promise<SystemdMachine> {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('needs Linux on x86-64');
  const qemu = await findQemu();
  const kernel = await firstDependency(KERNEL);
  const packages = (await packageClosure(PACKAGES)).filter((name) => !LEFT_OUT.test(name));
  const state = createHash('sha256')
    .update(JSON.stringify([kernel, packages]))
    .update(await readFile(import.meta.filename))
    .digest('hex');
  // beside the folders of the other machine's images, which clean up among themselves
  const folder = join(CACHE, '..', 'vm-systemd', state.slice(0, 16));
  if (!existsSync(folder)) await make(kernel, packages, folder);
  return { qemu, kernel: join(folder, 'kernel'), initrd: join(folder, 'initrd'), disk: join(folder, 'disk') };
}

async function make(kernel: string, packages: readonly string[], folder: string): Promise<void> {
  const parent = join(folder, '..');
  await mkdir(parent, { recursive: true });
  const outdated = await readdir(parent);
  const work = await mkdtemp(join(parent, '.making-'));
  try {
    const kernelFolder = await packageFolder(kernel);
    const version = (await readdir(join(kernelFolder, 'lib/modules')))[0]!;
    const modules = join(kernelFolder, 'lib/modules', version);
    await copyFile(join(kernelFolder, 'boot', `vmlinuz-${version}`), join(work, 'kernel'));
    await makeInitrd(work, modules, version);
    const root = join(work, 'root');
    await makeRoot(root, packages);
    const busybox = join(await packageFolder('busybox-static'), 'bin/busybox');
    await copyModules(modules, root, version, MODULES, busybox);
    // kmod reads indexes that busybox's depmod does not write
    await run('chroot', [root, '/sbin/depmod', version], { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' } });
    await makeFileSystem(join(work, 'disk'), (await sizeMiB(root)) + SPARE_MIB, root);
    await rm(root, { recursive: true });
    for (const name of outdated) await rm(join(parent, name), { recursive: true, force: true });
    await rename(work, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function makeRoot(root: string, packages: readonly string[]): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(root, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(root, name));
  }
  for (const name of [
    'dev',
    'proc',
    'sys',
    'run',
    'tmp',
    'root',
    'payload',
    'etc/systemd/system',
    'usr/local/bin',
    'usr/local/lib',
    'var/lib',
  ]) {
    await mkdir(join(root, name), { recursive: true });
  }
  for (const name of packages) await unpack(await packageFolder(name), root);
  const masters = join(await packageFolder('base-passwd'), 'usr/share/base-passwd');
  await cp(join(masters, 'passwd.master'), join(root, 'etc/passwd'));
  await cp(join(masters, 'group.master'), join(root, 'etc/group'));
  await writeFile(join(root, 'etc/shadow'), 'root:*:20000:0:99999:7:::\n');
  await writeFile(join(root, 'etc/gshadow'), '');
  await writeFile(join(root, 'etc/fstab'), '/dev/vda / ext4 rw 0 0\n');
  await writeFile(join(root, 'etc/hostname'), 'guest\n');
  await writeFile(join(root, 'etc/machine-id'), '0123456789abcdef0123456789abcdef\n');
  await run('sh', ['-c', '[ -e "$0/bin/sh" ] || ln -s bash "$0/bin/sh"; ln -sf gawk "$0/bin/awk"', root]);
  await symlink('/sbin/init', join(root, 'init'));
  const units = join(root, 'etc/systemd/system');
  await writeFile(join(units, 'story.service'), STORY_UNIT);
  await mkdir(join(units, 'multi-user.target.wants'));
  await symlink('../story.service', join(units, 'multi-user.target.wants/story.service'));
  // minutes of waiting for what is not there
  for (const name of ['getty.target', 'systemd-networkd-wait-online.service', 'systemd-timesyncd.service']) {
    await symlink('/dev/null', join(units, name));
  }
}

/** What is to be done comes on the second disk, as an archive with a script in it. */
const STORY_UNIT = `[Unit]
Description=What this machine was started for
After=basic.target

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'ip link set lo up; cd /payload && tar -xf /dev/vdb && sh ./run'
ExecStopPost=/bin/systemctl --no-block --force poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
TimeoutStartSec=infinity
`;

/**
 * Boots the machine with a copy of `folder` in /payload, runs `command` there as root, and switches off. Resolves to what
 * was on the console. The machine's disk stays as it was made.
 */
export async function runUnderSystemd(
  { qemu, kernel, initrd, disk }: SystemdMachine,
  folder: string,
  command: string,
  options: MachineOptions,
): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), 'vm-'));
  try {
    await writeFile(join(work, 'run'), `${command}\n`);
    const archive = join(work, 'payload.tar');
    await run('tar', ['-c', '-f', archive, '-C', folder, '.', '-C', work, 'run']);
    const disks = [scratched(disk), readable(archive)];
    return await boot(qemu, { kernel, initrd, disk }, disks, options, 'systemd.show_status=no');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
