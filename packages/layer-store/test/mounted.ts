/** Looks into snapshots by mounting them for real, in a mount namespace that ends with the command. Needs root. */
import { execFile } from 'node:child_process';
import { mkdtemp, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { LayerStore } from '../src/index.ts';
import type { Mount } from '../src/snapshot/index.ts';
import type { TarBuilder } from '../src/testing/index.ts';
import { pushLayer } from './images.ts';

const run = promisify(execFile);

/** Runs a shell script inside of what `mounts` make; returns what it printed. */
export async function runMounted(mounts: Mount[], script: string): Promise<string> {
  const target = await mkdtemp(join(tmpdir(), 'tare-mount-'));
  try {
    const steps = mounts.map(({ type, source, options }) =>
      type === 'bind'
        ? `mount --bind ${quote(source)} . && cd . && mount -o remount,bind,${options.filter((o) => o !== 'rbind').join()} "$PWD"`
        : `mount -t ${type} -o ${quote(options.join())} ${quote(source)} "$PWD"`,
    );
    const command = `cd ${quote(target)} && ${steps.join(' && cd "$PWD" && ')} && cd "$PWD" && { ${script}\n}`;
    const { stdout } = await run('unshare', ['-m', '--propagation', 'private', 'sh', '-c', command], {
      maxBuffer: 64 * 1024 * 1024,
    });
    return stdout;
  } finally {
    await rmdir(target);
  }
}

/** Unpacks an image made of these layers, and runs a script inside of a container of it. */
export async function lookInto(
  store: LayerStore,
  layers: readonly TarBuilder[],
  script: string,
): Promise<string> {
  const pushed = [];
  for (const layer of layers) pushed.push(await pushLayer(store.content, layer));
  const top = await store.unpack(pushed);
  return runMounted(await store.snapshots.prepare('container', top), script);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
