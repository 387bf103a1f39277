/**
 * Writes src/seccomp/syscall-table.ts from the kernel's headers. Run by a maintainer when new system calls matter:
 *
 *   node scripts/syscall-tables.mjs x86=/usr/include arm64=<folder> arm=<folder>
 *
 * The folders hold `asm/unistd.h` of the architecture (Debian: linux-libc-dev, linux-libc-dev-arm64-cross,
 * linux-libc-dev-armhf-cross).
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Newer than the headers of the distribution this was last run on; the same number on every architecture. */
const RECENT = {
  cachestat: 451,
  fchmodat2: 452,
  map_shadow_stack: 453,
  futex_wake: 454,
  futex_wait: 455,
  futex_requeue: 456,
  statmount: 457,
  listmount: 458,
  lsm_get_self_attr: 459,
  lsm_set_self_attr: 460,
  lsm_list_modules: 461,
  mseal: 462,
  setxattrat: 463,
  getxattrat: 464,
  listxattrat: 465,
  removexattrat: 466,
  open_tree_attr: 467,
  file_getattr: 468,
  file_setattr: 469,
};

const X32_BIT = 0x4000_0000;
const folders = Object.fromEntries(process.argv.slice(2).map((argument) => argument.split('=')));
if (!folders.x86 || !folders.arm64 || !folders.arm) {
  console.error('usage: node scripts/syscall-tables.mjs x86=<include> arm64=<include> arm=<include>');
  process.exit(1);
}

/** Numbers by name, as the C preprocessor sees them. */
function table(folder, flags, recent) {
  const gcc = (args, input) =>
    execFileSync('gcc', ['-E', '-P', '-undef', '-nostdinc', `-I${folder}`, ...flags, ...args, '-'], {
      input,
      encoding: 'utf8',
      maxBuffer: 1 << 24,
    });
  const names = [...gcc(['-dM'], '#include <asm/unistd.h>').matchAll(/^#define __(ARM_)?NR_(\w+) /gm)].map(
    (match) => ({
      macro: `__${match[1] ?? ''}NR_${match[2]}`,
      name: match[2],
    }),
  );
  const lines = names.map(({ name, macro }) => `"${name}" ${macro}`).join('\n');
  const numbers = { ...recent };
  for (const line of gcc([], `#include <asm/unistd.h>\n${lines}\n`).split('\n')) {
    const match = /^"(\w+)" (.+)$/.exec(line);
    if (!match) continue;
    const sum = match[2]
      .replace(/[()\s]/g, '')
      .split('+')
      .map(Number);
    const number = sum.reduce((total, part) => total + part, 0);
    if (Number.isInteger(number) && !/^syscalls$|BASE$|MASK$/.test(match[1])) {
      numbers[match[1]] = number;
    }
  }
  return numbers;
}

/** `first:name name name` groups of consecutive numbers; a number with several names joins them with `=`. */
function pack(numbers) {
  const byNumber = new Map();
  for (const [name, number] of Object.entries(numbers)) {
    byNumber.set(number, [...(byNumber.get(number) ?? []), name].sort());
  }
  const words = [];
  let next = -1;
  for (const number of [...byNumber.keys()].sort((a, b) => a - b)) {
    const name = byNumber.get(number).join('=');
    words.push(number === next ? name : `${number}:${name}`);
    next = number + 1;
  }
  const lines = [''];
  for (const word of words) {
    if (lines.at(-1).length + word.length > 110) lines.push('');
    lines[lines.length - 1] += `${lines.at(-1) === '' ? '' : ' '}${word}`;
  }
  return lines.join('\n');
}

const x86 = `${folders.x86}/x86_64-linux-gnu`;
const x86Flags = [`-I${x86}`];
const withProbes = { ...RECENT, uretprobe: 335, uprobe: 336 };
const x32 = table(folders.x86, [...x86Flags, '-D__x86_64__', '-D__ILP32__'], withProbes);
const tables = {
  SCMP_ARCH_X86_64: table(folders.x86, [...x86Flags, '-D__x86_64__'], withProbes),
  SCMP_ARCH_X86: table(folders.x86, [...x86Flags, '-D__i386__'], RECENT),
  // stored without the bit that marks them
  SCMP_ARCH_X32: Object.fromEntries(Object.entries(x32).map(([name, number]) => [name, number & ~X32_BIT])),
  SCMP_ARCH_AARCH64: table(folders.arm64, ['-D__aarch64__', '-D__BITS_PER_LONG=64', '-D__LP64__'], RECENT),
  SCMP_ARCH_ARM: table(folders.arm, ['-D__arm__', '-D__ARM_EABI__'], RECENT),
};

const body = Object.entries(tables)
  .map(([architecture, numbers]) => `  ${architecture}: \`\n${pack(numbers)}\n\`,`)
  .join('\n');
writeFileSync(
  fileURLToPath(new URL('../src/seccomp/syscall-table.ts', import.meta.url)),
  `/**
 * Numbers of the system calls by architecture: \`first:name name …\` for runs of consecutive numbers, \`=\` between names
 * of one number. Generated from the kernel's headers by scripts/syscall-tables.mjs; do not edit.
 */
export const SYSCALL_TABLE = {
${body}
} as const;
`,
);
for (const [architecture, numbers] of Object.entries(tables)) {
  console.log(
    architecture,
    Object.keys(numbers).length,
    'system calls, up to',
    Math.max(...Object.values(numbers)),
  );
}
