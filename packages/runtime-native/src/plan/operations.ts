/**
 * The vocabulary of launch plans, and their two forms: bytes for the helper, text for people.
 *
 * `native/helper/operations.h` holds the same table for C; a test compares the two.
 */
import { RuntimeError } from '../errors.ts';

/**
 * Operations by name: number, kinds of the fields, names of the fields. Kinds: `u` 32-bit number, `q` 64-bit number,
 * `s` string, `b` bytes, `l` list of strings. The high byte of the number is the phase: 1 the monitor, 2 the
 * container's process with all its power, 3 the container's process giving it up.
 */
export const OPERATIONS = {
  STDIO: [0x101, 'uuu', 'flags columns rows'],
  LOG: [0x102, 'squ', 'path maxSizeBytes maxFiles'],
  NAMESPACES: [0x103, 'u', 'cloneFlags'],
  PID_NAMESPACE: [0x104, 's', 'path'],
  CGROUP_BIRTH: [0x105, 's', 'directory'],
  OOM_EVENTS: [0x106, 's', 'file'],
  TARGET: [0x107, 'uq', 'pid startTicks'],
  PARENT_AFFINITY: [0x110, 'b', 'cpus'],
  SECCOMP_LISTENER: [0x112, 'ssu', 'socket state container'],
  STAGE: [0x113, '', ''],
  CGROUP_JOIN: [0x201, 's', 'tasks'],
  NAMESPACE_JOIN: [0x202, 'us', 'cloneFlag path'],
  CGROUP_NAMESPACE: [0x203, '', ''],
  LOOPBACK_UP: [0x204, '', ''],
  TARGET_JOIN: [0x205, 'u', 'cloneFlags'],
  STDIO_OWNER: [0x206, 'uu', 'uid gid'],
  USER_NAMESPACE: [0x207, 'ussss', 'flags uids gids uidTool gidTool'],
  CHILD: [0x208, 'u', 'cloneFlags'],
  LIMIT_ROOM: [0x209, 'uq', 'resource hard'],
  PRIVATE_MOUNTS: [0x20a, '', ''],
  TIME_OFFSETS: [0x20b, 's', 'offsets'],
  TREE_OPEN: [0x210, 'usu', 'slot path recursive'],
  ID_MAP: [0x217, 'uss', 'slot uids gids'],
  MAP_TREE: [0x219, 'uuus', 'slot ids recursive place'],
  MOUNT_TREE: [0x21a, 'usslq', 'slot type source options attributes'],
  OVERLAY_TREE: [0x21b, 'ullqsuuu', 'slot layers options attributes base ids uid gid'],
  DEVICE_TREE: [0x21c, 'uuuuuu', 'slot mode major minor uid gid'],
  HOST_DEVICE: [0x21d, 'usuuu', 'slot path mode major minor'],
  INHERITED_PROPAGATION: [0x211, 'u', 'flags'],
  SCRATCH: [0x212, 's', 'directory'],
  ROOT_OVERLAY: [0x213, 'llq', 'layers options attributes'],
  ROOT_TREE: [0x214, 'uqs', 'slot attributes place'],
  ROOT_JOINED: [0x215, '', ''],
  MOUNT: [0x220, 'ssslquu', 'type source destination options attributes propagation flags'],
  BIND: [0x221, 'usqqqquu', 'slot destination set clear setAll clearAll propagation flags'],
  MAPPED: [0x229, 'uu', 'slot recursive'],
  ATTRIBUTES: [0x222, 'sqqu', 'path set clear recursive'],
  DIRECTORY: [0x223, 's', 'path'],
  SYMLINK: [0x224, 'ss', 'target path'],
  DEVICE: [0x225, 'suuuuu', 'path mode major minor uid gid'],
  MASK: [0x226, 's', 'path'],
  READONLY: [0x227, 's', 'path'],
  TERMINAL: [0x228, 'uu', 'owner console'],
  RUNTIME_HOOKS: [0x22a, '', ''],
  CREATE_HOOK: [0x22b, 'usllsu', 'index path arguments environment state timeoutMs'],
  CHANGE_ROOT: [0x22c, '', ''],
  PIVOT: [0x230, '', ''],
  ROOT_PROPAGATION: [0x231, 'u', 'flags'],
  SYSCTL: [0x232, 'ss', 'name value'],
  HOSTNAME: [0x233, 's', 'name'],
  DOMAINNAME: [0x234, 's', 'name'],
  OOM_SCORE: [0x235, 's', 'value'],
  AFFINITY: [0x240, 'b', 'cpus'],
  IO_PRIORITY: [0x241, 'u', 'priority'],
  SCHEDULER: [0x242, 'uuuqqqq', 'policy nice priority flags runtime deadline period'],
  MEMORY_POLICY: [0x243, 'ub', 'mode nodes'],
  EXEC_LABEL: [0x244, 'ss', 'file label'],
  PERSONALITY: [0x245, 'u', 'persona'],
  RLIMIT: [0x301, 'uqq', 'resource soft hard'],
  BOUNDING: [0x302, 'q', 'capabilities'],
  WORKING_DIRECTORY: [0x303, 's', 'path'],
  USER: [0x304, 'uubu', 'uid gid groups flags'],
  UMASK: [0x305, 'u', 'mask'],
  CAPABILITIES: [0x306, 'qqq', 'effective permitted inheritable'],
  AMBIENT: [0x307, 'q', 'capabilities'],
  PROGRAM: [0x30d, 'ss', 'name path'],
  GATE: [0x308, '', ''],
  START_HOOK: [0x30c, 'usllsu', 'index path arguments environment state timeoutMs'],
  NO_NEW_PRIVILEGES: [0x309, '', ''],
  SECCOMP: [0x30a, 'ub', 'flags program'],
  EXEC: [0x30b, 'll', 'arguments environment'],
} as const satisfies Record<string, readonly [number: number, kinds: string, names: string]>;

/** The name of an operation. */
export type OperationName = keyof typeof OPERATIONS;

/** The TypeScript types of the fields that a string of kinds stands for. */
type Fields<Kinds extends string> = Kinds extends `${infer Kind}${infer Rest}`
  ? [Field<Kind>, ...Fields<Rest>]
  : [];
type Field<Kind extends string> = Kind extends 'u'
  ? number
  : Kind extends 'q'
    ? bigint
    : Kind extends 's'
      ? string
      : Kind extends 'b'
        ? Uint8Array
        : readonly string[];

/** One step: a name and its fields in the order of {@link OPERATIONS}. */
export type Operation = {
  [Name in OperationName]: readonly [name: Name, ...fields: Fields<(typeof OPERATIONS)[Name][1]>];
}[OperationName];

/** What the helper does to start one process, in order. */
export type Plan = readonly Operation[];

const MAGIC = 0x4e4c5054;
/** Changes whenever the table does, so that a helper never runs the plan of another version. */
const VERSION = 2;
const HEADER_BYTES = 16;
/** What the helper accepts. */
export const PLAN_MAX_BYTES = 1 << 20;

/** What one unit of a string takes at most. */
const UTF8_MAX_BYTES = 3;

/** A buffer that grows, with little-endian numbers. */
class Writer {
  #bytes = Buffer.from(new ArrayBuffer(8192));
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  #reserve(size: number): number {
    const at = this.length;
    this.length += size;
    if (this.length > this.#bytes.length) {
      const larger = Buffer.from(new ArrayBuffer(Math.max(this.length, this.#bytes.length * 2)));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }

  u16(value: number): void {
    const at = this.#reserve(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: bigint): void {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, value, true);
  }

  bytes(value: Uint8Array): void {
    const at = this.#reserve(value.length);
    this.#bytes.set(value, at);
  }

  /** Length without the NUL, bytes, NUL: C reads it in place. */
  text(value: string): void {
    if (value.includes('\0')) {
      throw new RuntimeError(
        'INVALID_SPEC',
        `${JSON.stringify(value)} holds a NUL byte, which the kernel ends strings at`,
      );
    }
    const at = this.#reserve(4 + value.length * UTF8_MAX_BYTES + 1);
    // in place: an encoder's array for each of a hundred strings takes most of the time
    const length = this.#bytes.write(value, at + 4, 'utf8');
    this.#view.setUint32(at, length, true);
    this.length = at + 4 + length;
    this.#bytes[this.length++] = 0;
  }

  patch(at: number, value: number): void {
    this.#view.setUint32(at, value, true);
  }

  result(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }
}

function writeField(writer: Writer, kind: string, value: unknown): void {
  if (kind === 'u') writer.u32(value as number);
  else if (kind === 'q') writer.u64(value as bigint);
  else if (kind === 's') writer.text(value as string);
  else if (kind === 'b') {
    writer.u32((value as Uint8Array).length);
    writer.bytes(value as Uint8Array);
  } else {
    const list = value as readonly string[];
    writer.u32(list.length);
    for (const item of list) writer.text(item);
  }
}

/**
 * The plan as the helper reads it.
 *
 * @throws {RuntimeError} `INVALID_SPEC` when a string holds a NUL byte or the plan is larger than 1 MiB
 */
export function encodePlan(plan: Plan): Uint8Array {
  const writer = new Writer();
  writer.u32(MAGIC);
  writer.u32(VERSION);
  writer.u32(0);
  writer.u32(plan.length);
  for (const [name, ...fields] of plan) {
    const [number, kinds] = OPERATIONS[name];
    writer.u16(number);
    writer.u16(0);
    const sizeAt = writer.length;
    writer.u32(0);
    for (let i = 0; i < kinds.length; i++) writeField(writer, kinds[i]!, fields[i]);
    writer.patch(sizeAt, writer.length - sizeAt - 4);
  }
  writer.patch(8, writer.length);
  if (writer.length > PLAN_MAX_BYTES) {
    throw new RuntimeError(
      'INVALID_SPEC',
      `the launch plan takes ${writer.length} bytes and may take ${PLAN_MAX_BYTES} (header ${HEADER_BYTES} included): ` +
        'shorten args, env or mounts',
    );
  }
  return writer.result();
}

/** Fields that read better in another base. */
const OCTAL = new Set(['mode', 'mask']);
const HEXADECIMAL = new Set([
  'flags',
  'cloneFlags',
  'cloneFlag',
  'attributes',
  'set',
  'clear',
  'setAll',
  'clearAll',
  'capabilities',
  'effective',
  'permitted',
  'inheritable',
]);

function formatField(name: string, value: unknown): string {
  if (value instanceof Uint8Array) return `${name}=<${value.length} bytes>`;
  if (typeof value === 'number' && OCTAL.has(name)) return `${name}=0${value.toString(8)}`;
  if (typeof value !== 'string' && !Array.isArray(value) && HEXADECIMAL.has(name)) {
    return `${name}=0x${(value as number | bigint).toString(16)}`;
  }
  return `${name}=${typeof value === 'bigint' ? String(value) : JSON.stringify(value)}`;
}

/** The plan as text, one operation a line: exactly what will be done, in order. */
export function formatPlan(plan: Plan): string {
  const lines = plan.map(([name, ...fields]) => {
    const names = OPERATIONS[name][2].split(' ');
    return [name, ...fields.map((field, i) => formatField(names[i]!, field))].join(' ');
  });
  return `${lines.join('\n')}\n`;
}
