/** Settings of the kernel that belong to a namespace: sysctls, host and domain name. Those of the host are refused. */
import type { Spec } from '../spec/config.ts';
import type { NamespaceSpec } from '../spec/linux.ts';
import type { Caller } from './context.ts';
import type { Namespaces } from './namespaces.ts';
import type { Operation } from './operations.ts';
import { cannot, invalid } from './validate.ts';

/** Sysctls that belong to the ipc namespace; `net.…` belongs to the network one. All others are the host's. */
const IPC_SYSCTLS =
  /^(?:kernel\/(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced|auto_msgmni)|fs\/mqueue\/.*)$/;

function sysctlOwner(name: string): NamespaceSpec['type'] | undefined {
  if (name.startsWith('net/')) return 'network';
  if (name === 'kernel/domainname') return 'uts';
  return IPC_SYSCTLS.test(name) ? 'ipc' : undefined;
}

/** `linux.sysctl`. @throws {RuntimeError} `INVALID_SPEC` for one that would change the host */
export function* sysctlOperations(spec: Spec, namespaces: Namespaces): Generator<Operation> {
  for (const [key, value] of Object.entries(spec.linux?.sysctl ?? {})) {
    // "net.ipv4.conf.eth0/1.x": whichever of the two comes first separates
    const slashes = key.search(/[./]/) === key.indexOf('/');
    const name = slashes ? key : key.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
    const owner = sysctlOwner(name);
    const field = `linux.sysctl[${JSON.stringify(key)}]`;
    if (!owner) throw invalid(field, 'is not of any namespace: it would change the host');
    if (!namespaces.has(owner)) throw invalid(field, `needs a ${owner} namespace of the container's own`);
    // the file is the host's root's alone, the call is for the root of any user namespace
    yield owner === 'uts' ? ['DOMAINNAME', value] : ['SYSCTL', name, value];
  }
}

/** Hostname and domain name. @throws {RuntimeError} `INVALID_SPEC` without a uts namespace */
export function* nameOperations(spec: Spec, namespaces: Namespaces): Generator<Operation> {
  for (const field of ['hostname', 'domainname'] as const) {
    const name = spec[field];
    if (!name) continue;
    if (!namespaces.has('uts')) throw invalid(field, 'needs a uts namespace: it would rename the host');
    yield [field === 'hostname' ? 'HOSTNAME' : 'DOMAINNAME', name];
  }
}

/** What the kernel takes as the name of a network device. */
const DEVICE_NAME = /^(?!\.{1,2}$)[^/\s:]{1,15}$/;

/**
 * `linux.netDevices`, which the maker moves. @throws {RuntimeError} `INVALID_SPEC`, or `UNSUPPORTED` for others than root
 */
export function checkNetDevices(spec: Spec, namespaces: Namespaces, caller: Caller): void {
  const devices = Object.entries(spec.linux?.netDevices ?? {});
  if (devices.length === 0) return;
  const field = 'linux.netDevices';
  if (!namespaces.has('network'))
    throw invalid(field, 'needs a network namespace: the devices are there already');
  if (!caller.privileged) throw cannot(field, 'only root can move devices of the host');
  const taken = new Map<string, string>();
  for (const [name, { name: newName = name }] of devices) {
    const at = `${field}[${JSON.stringify(name)}]`;
    if (!DEVICE_NAME.test(name)) throw invalid(at, 'is no name of a network device');
    if (!DEVICE_NAME.test(newName))
      throw invalid(`${at}.name`, `${JSON.stringify(newName)} is no name of a device`);
    const other = taken.get(newName);
    if (other !== undefined) throw invalid(`${at}.name`, `${newName} is what ${other} is called, too`);
    taken.set(newName, name);
  }
}
