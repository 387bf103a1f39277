/** Device nodes of a container: made, or in a user namespace, where nobody can make or use new ones, bound. */
import { DEFAULT_DEVICES } from '../spec/defaults.ts';
import type { Spec } from '../spec/config.ts';
import type { DeviceSpec } from '../spec/linux.ts';
import type { PlanContext } from './context.ts';
import { MS_PRIVATE } from './mount-options.ts';
import { FLAG, normalize } from './mount-plan.ts';
import type { MountPlan } from './mount-plan.ts';
import { hostId } from './namespaces.ts';
import type { UserNamespace } from './namespaces.ts';
import { cannot, invalid } from './validate.ts';

const S_IFMT = { c: 0o020000, u: 0o020000, b: 0o060000, p: 0o010000 } as const;
/** nosuid and noexec. */
const HARMLESS = 2n | 8n;

function planDevice(
  plan: MountPlan,
  device: DeviceSpec,
  field: string,
  user: UserNamespace | undefined,
  { caller }: PlanContext,
): void {
  const { type, path, fileMode = 0o666, uid = 0, gid = 0 } = device;
  const { major = 0, minor = 0 } = device;
  if (type !== 'p' && (device.major === undefined || device.minor === undefined || major < 0 || minor < 0)) {
    throw invalid(field, `${path} needs a major and a minor number`);
  }
  // 12 and 20 bits are what the kernel keeps; more would name another device
  if (major > 0xfff || minor > 0xf_ffff) {
    throw invalid(field, `${path}: the kernel knows no device ${major}:${minor}`);
  }
  const mode = S_IFMT[type] | fileMode;
  const owner = { uid: user ? hostId(user.uids, uid) : uid, gid: user ? hostId(user.gids, gid) : gid };
  for (const kind of ['uid', 'gid'] as const) {
    if (owner[kind] === undefined) {
      throw invalid(`${field}.${kind}`, `${device[kind] ?? 0} has no mapping in linux.${kind}Mappings`);
    }
  }
  if (!user || type === 'p') return plan.add(['DEVICE', normalize(path), mode, major, minor, uid, gid]);
  let slot;
  if (user.privileged) {
    slot = plan.make((at) => ['DEVICE_TREE', at, mode, major, minor, owner.uid!, owner.gid!]);
  } else {
    const source = caller.findDevice(device);
    if (!source) {
      throw cannot(
        field,
        `only root can make ${path} (${type} ${major}:${minor}), and the host has no such device`,
      );
    }
    slot = plan.open((at) => ['HOST_DEVICE', at, source, mode, major, minor]);
  }
  plan.add(['BIND', slot, normalize(path), HARMLESS, 0n, 0n, 0n, MS_PRIVATE, FLAG.NO_SYMLINKS]);
}

/** Those of the spec, the default ones, and the links beside them. */
export function planDevices(
  plan: MountPlan,
  spec: Spec,
  user: UserNamespace | undefined,
  context: PlanContext,
): void {
  const asked = spec.linux?.devices ?? [];
  const named = new Set(asked.map((device) => normalize(device.path)));
  for (const device of DEFAULT_DEVICES) {
    if (!named.has(device.path)) planDevice(plan, device, 'linux.devices', user, context);
  }
  asked.forEach((device, i) => planDevice(plan, device, `linux.devices[${i}]`, user, context));
  plan.add(['SYMLINK', '/proc/self/fd', '/dev/fd']);
  plan.add(['SYMLINK', '/proc/self/fd/0', '/dev/stdin']);
  plan.add(['SYMLINK', '/proc/self/fd/1', '/dev/stdout']);
  plan.add(['SYMLINK', '/proc/self/fd/2', '/dev/stderr']);
  plan.add(['SYMLINK', '/proc/kcore', '/dev/core']);
  plan.add(['SYMLINK', 'pts/ptmx', '/dev/ptmx']);
}
