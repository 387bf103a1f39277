/** Whether this machine runs the programs of a platform: its own, or those that somebody has told the kernel how to run. */
import { formatPlatform, platformOfProcess, type Platform } from '@tare/image-spec';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** How an architecture's programs begin: ELF's word size (1: 32, 2: 64 bit), byte order (1: little, 2: big) and machine. */
const ELF: Readonly<Record<string, { word: 1 | 2; order: 1 | 2; machine: number }>> = {
  '386': { word: 1, order: 1, machine: 3 },
  amd64: { word: 2, order: 1, machine: 62 },
  arm: { word: 1, order: 1, machine: 40 },
  arm64: { word: 2, order: 1, machine: 183 },
  loong64: { word: 2, order: 1, machine: 258 },
  mips64le: { word: 2, order: 1, machine: 8 },
  ppc64le: { word: 2, order: 1, machine: 21 },
  riscv64: { word: 2, order: 1, machine: 243 },
  s390x: { word: 2, order: 2, machine: 22 },
};

/** What the processors of an architecture run besides. */
const ALSO: Readonly<Record<string, readonly string[]>> = { amd64: ['386'], arm64: ['arm'] };

const BINFMT = '/proc/sys/fs/binfmt_misc';

/**
 * Why programs of a platform cannot be run here; undefined when they can.
 *
 * @param handlers - directory of the kernel's list of interpreters
 * @param own - platform of this machine
 */
export function platformObstacle(
  platform: Platform,
  handlers = BINFMT,
  own: Platform = platformOfProcess(process),
): string | undefined {
  const { os, architecture } = platform;
  const native = architecture === own.architecture || ALSO[own.architecture]?.includes(architecture);
  if (os === own.os && native) return undefined;
  const elf = os === 'linux' ? ELF[architecture] : undefined;
  if (elf !== undefined && handlersOf(handlers).some((handler) => takes(handler, headerOf(elf)))) {
    return undefined;
  }
  return (
    `this machine (${formatPlatform(own)}) does not run programs of ${formatPlatform(platform)}. ` +
    'Register an emulator for them with binfmt_misc (Debian: qemu-user-static), do it in a stage ' +
    'FROM --platform=$BUILDPLATFORM, or build for this machine alone'
  );
}

/** The first bytes of a program. */
function headerOf({ word, order, machine }: { word: number; order: number; machine: number }): Buffer {
  const header = Buffer.alloc(20);
  header.set([0x7f, 0x45, 0x4c, 0x46, word, order, 1]);
  const write = order === 1 ? 'writeUInt16LE' : 'writeUInt16BE';
  // ET_EXEC
  header[write](2, 16);
  header[write](machine, 18);
  return header;
}

/** What an enabled interpreter takes. */
interface Handler {
  offset: number;
  magic: Buffer;
  mask: Buffer | undefined;
}

function handlersOf(directory: string): Handler[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch {
    // a kernel without it, or nobody has mounted it
    return [];
  }
  return names.flatMap((name) => {
    if (name === 'register' || name === 'status') return [];
    const text = readFileSync(join(directory, name), 'utf8');
    const field = (key: string): string | undefined => new RegExp(`^${key} (\\S+)$`, 'm').exec(text)?.[1];
    const magic = field('magic');
    if (!text.startsWith('enabled\n') || magic === undefined) return [];
    const mask = field('mask');
    return [
      {
        offset: Number(field('offset') ?? 0),
        magic: Buffer.from(magic, 'hex'),
        mask: mask === undefined ? undefined : Buffer.from(mask, 'hex'),
      },
    ];
  });
}

function takes({ offset, magic, mask }: Handler, header: Buffer): boolean {
  return magic.every((byte, i) => {
    const bits = mask?.[i] ?? 0xff;
    return ((header[offset + i] ?? 0) & bits) === (byte & bits);
  });
}
