/** What a container gets when nobody says otherwise: the same defaults that Docker gives. */
import type { DeviceSpec, LinuxResources, NamespaceSpec } from './linux.ts';
import type { CapabilitySets, MountSpec, Spec } from './config.ts';

/** The capabilities of an unprivileged container's root. */
export const DEFAULT_CAPABILITIES: readonly string[] = [
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FSETID',
  'CAP_FOWNER',
  'CAP_MKNOD',
  'CAP_NET_RAW',
  'CAP_SETGID',
  'CAP_SETUID',
  'CAP_SETFCAP',
  'CAP_SETPCAP',
  'CAP_NET_BIND_SERVICE',
  'CAP_SYS_CHROOT',
  'CAP_KILL',
  'CAP_AUDIT_WRITE',
];

/**
 * Paths hidden behind empty read-only mounts. Those that a kernel does not have are skipped. The per-CPU
 * `thermal_throttle` directories depend on the machine and are not listed.
 */
export const DEFAULT_MASKED_PATHS: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

/** Paths that are made read-only. */
export const DEFAULT_READONLY_PATHS: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];

/** The file systems of a container, in mount order. `shmSizeBytes` defaults to 64 MiB. */
export function defaultMounts(options: { shmSizeBytes?: number } = {}): MountSpec[] {
  const { shmSizeBytes = 64 * 1024 * 1024 } = options;
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
    {
      destination: '/sys/fs/cgroup',
      type: 'cgroup',
      source: 'cgroup',
      options: ['ro', 'nosuid', 'noexec', 'nodev'],
    },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${shmSizeBytes}`],
    },
  ];
}

/** Namespaces of a container: all new ones but `user` and `time`. */
export function defaultNamespaces(): NamespaceSpec[] {
  return (['pid', 'network', 'mount', 'ipc', 'uts', 'cgroup'] as const).map((type) => ({ type }));
}

/** The device nodes that every container gets, whatever its spec says (runtime spec, "Default Devices"). */
export const DEFAULT_DEVICES: readonly Required<DeviceSpec>[] = (
  [
    ['/dev/null', 1, 3],
    ['/dev/zero', 1, 5],
    ['/dev/full', 1, 7],
    ['/dev/random', 1, 8],
    ['/dev/urandom', 1, 9],
    ['/dev/tty', 5, 0],
  ] as const
).map(([path, major, minor]) => ({ type: 'c', path, major, minor, fileMode: 0o666, uid: 0, gid: 0 }));

type DeviceRules = NonNullable<LinuxResources['devices']>;

/** What the default devices, terminals and mknod of any other need. */
const DEFAULT_DEVICE_RULES: DeviceRules = [
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
  { allow: true, type: 'c', major: 1, minor: 5, access: 'rwm' },
  { allow: true, type: 'c', major: 1, minor: 7, access: 'rwm' },
  { allow: true, type: 'c', major: 1, minor: 8, access: 'rwm' },
  { allow: true, type: 'c', major: 1, minor: 9, access: 'rwm' },
  { allow: true, type: 'c', major: 5, minor: 0, access: 'rwm' },
  { allow: true, type: 'c', major: 5, minor: 2, access: 'rwm' },
  { allow: true, type: 'c', major: 136, access: 'rwm' },
];

/** Device cgroup rules of an unprivileged container: everything may be made, the harmless few may be used. */
export function defaultDeviceRules(): DeviceRules {
  const console = { allow: true, type: 'c' as const, major: 5, minor: 1, access: 'rwm' };
  return [{ allow: false, access: 'rwm' }, ...DEFAULT_DEVICE_RULES, console];
}

/** Rules of a spec with those that every container needs after them, as runc and crun have it. */
export function withDefaultDevices(rules: DeviceRules): DeviceRules {
  const known = new Set(rules.map((rule) => JSON.stringify(rule)));
  return [...rules, ...DEFAULT_DEVICE_RULES.filter((rule) => !known.has(JSON.stringify(rule)))];
}

/** The five sets of a process that may use `capabilities` and gains none: nothing inheritable, nothing ambient. */
export function capabilitySets(capabilities: readonly string[] = DEFAULT_CAPABILITIES): CapabilitySets {
  return { bounding: [...capabilities], effective: [...capabilities], permitted: [...capabilities] };
}

/**
 * A complete spec that runs `args` as root with the defaults of this module, for callers who want to change only a few
 * fields of it.
 */
export function defaultSpec(args: readonly string[]): Spec {
  return {
    ociVersion: '1.2.0',
    process: {
      user: { uid: 0, gid: 0 },
      args: [...args],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      cwd: '/',
      capabilities: capabilitySets(),
      noNewPrivileges: true,
    },
    root: { path: 'rootfs' },
    mounts: defaultMounts(),
    linux: {
      namespaces: defaultNamespaces(),
      maskedPaths: [...DEFAULT_MASKED_PATHS],
      readonlyPaths: [...DEFAULT_READONLY_PATHS],
      resources: { devices: defaultDeviceRules() },
    },
  };
}
