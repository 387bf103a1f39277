/** What a machine's facts mean for containers, and what to do about those that are in the way. Pure. */
import type { KernelPart, MachineFacts } from './facts.ts';

/** `fails`: no containers here. `lacks`: they run, without something. `good`: nothing to do. */
export type Verdict = 'good' | 'lacks' | 'fails';

/** One line of the doctor's report. */
export interface Check {
  /** Stable, for programs: `kernel`, `overlay`, … */
  id: string;
  verdict: Verdict;
  /** What was found. */
  found: string;
  /** What it means for containers; empty when good. */
  means: string;
  /** How to get it; empty when good, or when there is no way. */
  remedy: string;
}

/** openat2, the mount interface, pidfd and clone3 are all there from this kernel on. */
const LEAST_KERNEL = [5, 6];
/** The packages say the same in `engines`, and bin/tare.mjs to an older one. */
export const LEAST_NODE = [22, 19];
/** A middling image with its layers. */
const LEAST_FREE_BYTES = 1 << 30;
const NEEDED_NAMESPACES = ['mnt', 'pid', 'net', 'uts', 'ipc'];
/** overlayfs cannot have its upper layer there. */
const NO_UPPER = ['overlay', 'nfs', 'fuse'];
const SUPPORTED_ARCH = ['x64', 'arm64'];

/** The report, in the order in which a person would set things right. */
export function judge(facts: MachineFacts): Check[] {
  if (facts.platform !== 'linux') {
    return [
      fails(
        'system',
        facts.platform,
        'containers need a Linux kernel',
        'use a Linux machine, or a virtual one',
      ),
    ];
  }
  return [
    system(facts),
    kernel(facts),
    node(facts),
    native(facts),
    user(facts),
    namespaces(facts),
    cgroups(facts),
    part('overlay', facts.overlay, 'overlayfs', 'images have layers, which it stacks', 'fails'),
    storage(facts),
    part(
      'bridge',
      facts.bridge,
      'bridges',
      'containers have no bridge networks, only host and none',
      'lacks',
    ),
    part('veth', facts.veth, 'veth pairs', 'containers have no bridge networks, only host and none', 'lacks'),
    part(
      'nftables',
      facts.nfTables,
      'nf_tables',
      'no published ports, and no way out of a bridge network',
      'lacks',
    ),
    forwarding(facts),
    seccomp(facts),
    userNamespaces(facts),
    group(facts),
  ];
}

/** What keeps the daemon from running any container. */
export function blockers(checks: readonly Check[]): Check[] {
  return checks.filter(({ verdict }) => verdict === 'fails');
}

const good = (id: string, found: string): Check => ({ id, verdict: 'good', found, means: '', remedy: '' });
const lacks = (id: string, found: string, means: string, remedy: string): Check => ({
  id,
  verdict: 'lacks',
  found,
  means,
  remedy,
});
const fails = (id: string, found: string, means: string, remedy: string): Check => ({
  id,
  verdict: 'fails',
  found,
  means,
  remedy,
});

/** Whether `version` is at least `least`. */
function reaches(version: string, [major, minor]: readonly number[]): boolean {
  const [a = 0, b = 0] = version.split(/[.-]/).map(Number);
  return a > major! || (a === major && b >= minor!);
}

function system({ operatingSystem, arch }: MachineFacts): Check {
  const found = `${operatingSystem}, ${arch}`;
  if (SUPPORTED_ARCH.includes(arch)) return good('system', found);
  return lacks(
    'system',
    found,
    'there are no ready-made native parts for this processor',
    'install gcc, g++, make and python3: they are built here',
  );
}

function kernel({ kernelVersion }: MachineFacts): Check {
  const found = `Linux ${kernelVersion}`;
  if (reaches(kernelVersion, LEAST_KERNEL)) return good('kernel', found);
  return fails(
    'kernel',
    found,
    `calls that containers are made with came with Linux ${LEAST_KERNEL.join('.')}`,
    'use a newer kernel: Debian 11, Ubuntu 22.04, RHEL 9 and later have one',
  );
}

function node({ nodeVersion }: MachineFacts): Check {
  const found = `Node.js ${nodeVersion}`;
  if (reaches(nodeVersion, LEAST_NODE)) return good('node', found);
  return fails(
    'node',
    found,
    `the engine needs Node.js ${LEAST_NODE.join('.')} or newer`,
    'install the release tarball, which has its own, or a newer Node.js',
  );
}

function native({ nativeFailure }: MachineFacts): Check {
  if (nativeFailure === undefined) return good('native', 'native parts load');
  return fails(
    'native',
    `native parts do not load: ${nativeFailure}`,
    'no container can be made without them',
    'reinstall; from a checkout: node tools/boot.mjs',
  );
}

function user({ uid, userName }: MachineFacts): Check {
  if (uid === 0) return good('user', 'root');
  return lacks(
    'user',
    userName,
    'the daemon needs root; its command line does not',
    "start the daemon by systemd ('systemctl start tare') or with sudo",
  );
}

function namespaces({ namespaces: found }: MachineFacts): Check {
  const missing = NEEDED_NAMESPACES.filter((name) => !found.includes(name));
  if (missing.length === 0) return good('namespaces', found.join(', '));
  return fails(
    'namespaces',
    `no ${missing.join(', ')}`,
    'containers are made of them',
    'use a kernel of a distribution; this one was built without',
  );
}

function cgroups({ cgroups: found }: MachineFacts): Check {
  if (!found) {
    return fails(
      'cgroups',
      'no cgroup file system is mounted',
      'containers cannot be told apart or limited',
      'mount it: mount -t cgroup2 cgroup2 /sys/fs/cgroup',
    );
  }
  const missing = (['memory', 'pids', 'cpu', 'cpuset'] as const).filter((name) => !found[name]);
  const version = `version ${found.version}`;
  if (missing.length > 0) {
    return lacks(
      'cgroups',
      `${version}, without ${missing.join(', ')}`,
      `limits of ${missing.join(', ')} cannot be set`,
      'boot with cgroup_enable=memory, or use a kernel with these controllers',
    );
  }
  if (found.swap) return good('cgroups', version);
  return lacks(
    'cgroups',
    `${version}, without swap accounting`,
    '--memory-swap has no effect',
    'boot with swapaccount=1',
  );
}

function part(id: string, state: KernelPart, name: string, means: string, without: 'lacks' | 'fails'): Check {
  if (state === 'there') return good(id, name);
  if (state === 'loadable') return good(id, `${name}, loaded when needed`);
  const check = without === 'fails' ? fails : lacks;
  const module = id === 'nftables' ? 'nf_tables' : id;
  return check(id, `no ${name}`, means, `modprobe ${module}, or a kernel that has it`);
}

function storage({ data, uid }: MachineFacts): Check {
  const { path, freeBytes, fileSystem, writable } = data;
  const found = `${path} on ${fileSystem}, ${(freeBytes / 1e9).toFixed(1)} GB free`;
  if (NO_UPPER.includes(fileSystem)) {
    return fails(
      'storage',
      found,
      `containers cannot write to layers on ${fileSystem}`,
      '"data-root" in /etc/tare/daemon.json on ext4, xfs or btrfs',
    );
  }
  if (uid === 0 && !writable) {
    return fails(
      'storage',
      `${found}, read-only`,
      'images have no place',
      '"data-root" in /etc/tare/daemon.json',
    );
  }
  if (freeBytes < LEAST_FREE_BYTES) {
    return lacks('storage', found, 'a pull may fill it', '\'tare system prune\', or "data-root" elsewhere');
  }
  return good('storage', found);
}

function forwarding({ ipForward }: MachineFacts): Check {
  return good('forwarding', ipForward ? 'packets are forwarded' : 'off; the daemon switches it on');
}

function seccomp({ seccomp: there }: MachineFacts): Check {
  if (there) return good('seccomp', 'system calls can be filtered');
  return fails(
    'seccomp',
    'no filters for system calls',
    'containers are not started without their default filter',
    'a kernel with CONFIG_SECCOMP_FILTER',
  );
}

function userNamespaces({ namespaces: kinds, userNamespaces: most }: MachineFacts): Check {
  if (kinds.includes('user') && most > 0) return good('userns', 'user namespaces');
  return lacks(
    'userns',
    'no user namespaces',
    'no --userns-remap and no rootless containers; others run',
    'sysctl user.max_user_namespaces=15000',
  );
}

function group({ group: { name, exists, member, effective }, uid, userName }: MachineFacts): Check {
  if (!exists) {
    return lacks(
      'group',
      `no group ${name}`,
      'only root can use the daemon',
      `groupadd --system ${name}, and add users to it: they are as powerful as root`,
    );
  }
  if (uid === 0 || effective) return good('group', name);
  if (member) {
    return lacks(
      'group',
      `${userName} is in ${name}, but this session began before`,
      'the daemon refuses this session',
      `log out and in again, or run: newgrp ${name}`,
    );
  }
  return lacks(
    'group',
    `${userName} is not in ${name}`,
    'the daemon refuses this user',
    `usermod -aG ${name} ${userName}, then log out and in again`,
  );
}
