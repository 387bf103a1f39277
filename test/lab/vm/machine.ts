/** A virtual machine that runs one script in a copy of the checkout and is gone afterwards. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, rmSync } from 'node:fs';
import { glob, mkdir, mkdtemp, readFile, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { COMPONENTS } from '../debian.ts';
import { canCompile, compileStatic } from '../programs.ts';
import { bootImage, makeFileSystem } from './image.ts';
import type { BootImage } from './image.ts';
import { findQemu } from './qemu.ts';
import type { Qemu } from './qemu.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..', '..');

/**
 * One processor: with two, the emulator runs V8's changing code wrongly once in ten starts of Node. An ordinary PC: the
 * smaller microvm has no clock that the kernel can tell its speed by while the host is busy, and hangs at the boot.
 */
const HARDWARE = (
  '-M pc -accel tcg -cpu Nehalem-v1 -smp 1 -m 3072 ' +
  '-nodefaults -no-user-config -no-reboot -display none -serial stdio'
).split(' ');
/** A failed boot ends the machine; a guest without secrets needs no protection of them. */
const KERNEL_ARGUMENTS = 'console=ttyS0 quiet panic=-1 no_timer_check mitigations=off cgroup_no_v1=all';
const RESULT_MAX_BYTES = 64 << 20;
/** A sparse file; tests write some hundred megabytes. */
const SCRATCH_MIB = 4096;
/** On top of the guest's own limit, which includes the boot. */
const GRACE_SECONDS = 10;
/** Not needed inside, or made there. */
const LEFT_OUT = ['./.git', './.cache', './node_modules', './bench', './docs', 'dist', 'obj.target'];

/** Everything to start machines with. */
export interface MachineParts {
  qemu: Qemu;
  image: BootImage;
}

/** Finds, fetches and makes what a machine needs. @throws with the reason when this cannot be had here */
export async function prepareMachine(): Promise<MachineParts> {
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('needs Linux on x86-64');
  return { qemu: await findQemu(), image: await bootImage() };
}

/** What a script left. */
export interface MachineResult {
  /** What the script wrote to `/run/result`; empty when it did not come to that. */
  result: string;
  /** Everything on the serial console: kernel messages and the script's output. */
  console: string;
}

/** See {@link runInMachine}. */
export interface MachineOptions {
  /** After this long the machine is switched off, finished or not. */
  limitSeconds: number;
  /** Hears the console as it goes. */
  onConsole?: (text: string) => void;
}

/**
 * Boots, runs a shell script as root in the root of a copy of the checkout, and switches off. The machine has no network
 * and writes only to temporary files. Rejects only when QEMU could not be started.
 */
export async function runInMachine(
  { qemu, image }: MachineParts,
  script: string,
  options: MachineOptions,
): Promise<MachineResult> {
  const folder = await mkdtemp(join(tmpdir(), 'vm-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    const checkout = join(folder, 'checkout.tar');
    const resultDisk = join(folder, 'result');
    await packCheckout(checkout, folder, script);
    await writeFile(resultDisk, '');
    await truncate(resultDisk, RESULT_MAX_BYTES);
    const scratch = join(folder, 'scratch');
    await makeFileSystem(scratch, SCRATCH_MIB);
    const disks = [readable(image.disk), readable(checkout), writable(resultDisk), writable(scratch)];
    const console = await boot(qemu, image, disks, options);
    const result = await readFile(resultDisk, 'utf8');
    const end = result.indexOf('\0');
    return { result: end < 0 ? result : result.slice(0, end), console };
  } finally {
    remove();
    process.off('exit', remove);
  }
}

/** The checkout as it is, changes included, with the script and what tests in there use but cannot make or fetch. */
async function packCheckout(archive: string, folder: string, script: string): Promise<void> {
  for await (const source of glob(join(ROOT, 'packages/*/test/lab/*.c'))) {
    if (canCompile(source)) await compileStatic(source);
  }
  await mkdir(join(folder, '.vm'));
  await writeFile(join(folder, '.vm', 'run'), script);
  const brought = [
    ...[COMPONENTS.busybox, COMPONENTS.runtimeSpec].map(({ package: name }) => join('debian', name)),
    'programs',
  ]
    .map((path) => join('.cache', path))
    .filter((path) => existsSync(join(ROOT, path)));
  const patterns = LEFT_OUT.map((pattern) => `--exclude=${pattern}`);
  await run('tar', ['-c', '-f', archive, '-C', ROOT, ...patterns, '.', '-C', folder, '.vm']);
  if (brought.length > 0) await run('tar', ['-r', '-f', archive, '-C', ROOT, ...brought]);
}

export function readable(file: string): string {
  return `file=${file},readonly=on`;
}

/** As {@link readable}, written to as well, without that the file changes. */
export function scratched(file: string): string {
  return `file=${file},snapshot=on`;
}

/** Nobody reads it after a crash of the host. */
function writable(file: string): string {
  return `file=${file},cache=unsafe,discard=unmap`;
}

export async function boot(
  qemu: Qemu,
  image: BootImage,
  disks: readonly string[],
  { limitSeconds, onConsole }: MachineOptions,
  kernelArguments = '',
): Promise<string> {
  const child = spawn(
    qemu.program,
    [
      ...qemu.args,
      ...HARDWARE,
      '-kernel',
      image.kernel,
      '-initrd',
      image.initrd,
      '-append',
      `${KERNEL_ARGUMENTS} tare.limit=${limitSeconds} ${kernelArguments}`.trim(),
      ...disks.flatMap((disk, i) => [
        '-drive',
        `id=disk${i},format=raw,if=none,${disk}`,
        '-device',
        `virtio-blk-pci,drive=disk${i}`,
      ]),
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: qemu.env,
      timeout: (limitSeconds + GRACE_SECONDS) * 1000,
      killSignal: 'SIGKILL',
    },
  );
  let console = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      console += text;
      onConsole?.(text);
    });
  }
  const end = (): void => void child.kill('SIGKILL');
  process.once('exit', end);
  await once(child, 'close');
  process.off('exit', end);
  return console;
}
