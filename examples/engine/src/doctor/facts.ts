/** What is looked at of a machine before it is asked to run containers. Everything is read; nothing is changed or started. */
import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { arch, platform, release, userInfo } from 'node:os';
import { dirname } from 'node:path';
import { readHostFacts, type CgroupFacts } from '../system/host-facts.ts';

/** A part of the kernel: there, or to be loaded when it is first needed, or neither. */
export type KernelPart = 'there' | 'loadable' | 'missing';

/** The machine, as plain data: what {@link "checks".judge} goes by. */
export interface MachineFacts {
  platform: string;
  /** Node's name of the processor. */
  arch: string;
  nodeVersion: string;
  kernelVersion: string;
  operatingSystem: string;
  /** 0 is root. */
  uid: number;
  userName: string;
  /** Why the native code of the runtime cannot be loaded; undefined when it can. */
  nativeFailure: string | undefined;
  /** Kinds of namespace that the kernel has: `mnt`, `pid`, … */
  namespaces: string[];
  cgroups: CgroupFacts | undefined;
  overlay: KernelPart;
  bridge: KernelPart;
  veth: KernelPart;
  nfTables: KernelPart;
  /** Whether filters for system calls can be set. */
  seccomp: boolean;
  /** How many user namespaces a user may have; 0 where they are switched off. */
  userNamespaces: number;
  /** The folder for images, or the nearest above it that exists. */
  data: { path: string; freeBytes: number; fileSystem: string; writable: boolean };
  ipForward: boolean;
  securityModules: string[];
  /** The group of the socket: whether it exists, has the user in it, and this process knows of that. */
  group: { name: string; exists: boolean; member: boolean; effective: boolean };
}

/** What to look at. */
export interface FactsOptions {
  dataRoot: string;
  group: string;
  /** Loads the native code of the runtime; throws when it cannot be. */
  loadNative: () => Promise<unknown>;
}

/** Reads the machine. */
export async function readMachineFacts(options: FactsOptions): Promise<MachineFacts> {
  const { uid, username } = userInfo();
  return {
    platform: platform(),
    arch: arch(),
    nodeVersion: process.versions.node,
    kernelVersion: release(),
    operatingSystem: platform() === 'linux' ? readHostFacts().operatingSystem : platform(),
    uid,
    userName: username,
    nativeFailure: await options.loadNative().then(
      () => undefined,
      (error: unknown) => (error instanceof Error ? error.message.split('\n', 1)[0]! : String(error)),
    ),
    namespaces: ['mnt', 'pid', 'net', 'uts', 'ipc', 'user', 'cgroup', 'time'].filter((name) =>
      existsSync(`/proc/self/ns/${name}`),
    ),
    cgroups: hasCgroups() ? readHostFacts().cgroup : undefined,
    overlay: /\boverlay$/m.test(text('/proc/filesystems')) ? 'there' : modulePart('overlay'),
    bridge: modulePart('bridge'),
    veth: modulePart('veth'),
    nfTables: modulePart('nf_tables'),
    seccomp: existsSync('/proc/sys/kernel/seccomp/actions_avail'),
    userNamespaces: Number(text('/proc/sys/user/max_user_namespaces').trim() || 0),
    data: dataFacts(options.dataRoot),
    ipForward: text('/proc/sys/net/ipv4/ip_forward').trim() === '1',
    securityModules: text('/sys/kernel/security/lsm').trim().split(',').filter(Boolean),
    group: groupFacts(options.group, username),
  };
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // what cannot be read is not offered, whatever the reason
    return '';
  }
}

function hasCgroups(): boolean {
  return / - cgroup2? /.test(text('/proc/self/mountinfo'));
}

/** Whether the kernel has a module, as one or built in. */
function modulePart(name: string): KernelPart {
  if (existsSync(`/sys/module/${name}`)) return 'there';
  const folder = `/lib/modules/${release()}`;
  const listed = new RegExp(`/${name}\\.ko`, 'm');
  if (listed.test(text(`${folder}/modules.builtin`))) return 'there';
  if (listed.test(text(`${folder}/modules.dep`))) return 'loadable';
  return builtIn(name) ? 'there' : 'missing';
}

/** What a kernel without module lists has, by the symbols that only the part itself brings. */
function builtIn(name: string): boolean {
  const symbols: Record<string, string> = {
    bridge: 'br_add_bridge',
    veth: 'veth_newlink',
    nf_tables: 'nf_tables_newtable',
    overlay: 'ovl_fill_super',
  };
  const symbol = symbols[name];
  // megabytes, and only asked on kernels without modules
  symbolTable ??= text('/proc/kallsyms');
  return symbol !== undefined && new RegExp(` ${symbol}$`, 'm').test(symbolTable);
}

let symbolTable: string | undefined;

/** Magic numbers of `<linux/magic.h>`. */
const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0xef53: 'ext4',
  0x58465342: 'xfs',
  0x9123683e: 'btrfs',
  0x01021994: 'tmpfs',
  0x794c7630: 'overlay',
  0x6969: 'nfs',
  0x65735546: 'fuse',
  0x2fc12fc1: 'zfs',
  0xf2f52010: 'f2fs',
};

function dataFacts(root: string): MachineFacts['data'] {
  let path = root;
  while (!existsSync(path)) path = dirname(path);
  const { type, bavail, bsize } = statfsSync(path);
  return {
    path,
    freeBytes: bavail * bsize,
    fileSystem: FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`,
    writable: isWritable(path),
  };
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    // for us it is not
    return false;
  }
}

function groupFacts(name: string, user: string): MachineFacts['group'] {
  const line = text('/etc/group')
    .split('\n')
    .map((entry) => entry.split(':'))
    .find(([group]) => group === name);
  if (!line) return { name, exists: false, member: false, effective: false };
  const [, , gid = '', members = ''] = line;
  return {
    name,
    exists: true,
    member: members.split(',').includes(user),
    effective: process.getgroups?.().includes(Number(gid)) ?? false,
  };
}
