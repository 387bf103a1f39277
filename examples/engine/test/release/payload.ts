/** What the story of an installation needs, in one folder: two releases, and a registry with images. */
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pushHelloWorld } from '@tare/hello-world';
import { RegistryClient } from '@tare/registry-client';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { busyboxLayer, pushImage } from '../../../../test/lab/images.ts';
import { run } from '../../../../test/lab/process.ts';
import { startDebianRegistry } from '../../../../test/lab/registry.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..', '..');

/** Why there can be no such folder here, or undefined. */
export function missingForRelease(): string | undefined {
  const needed = [COMPONENTS.registry, COMPONENTS.busybox];
  const missing = needed.filter((component) => componentPath(component) === undefined);
  return missing.length > 0 ? `needs ${missing.map(({ name }) => name).join(', ')}` : undefined;
}

/** Fills `folder`. */
export async function fillPayload(folder: string): Promise<void> {
  for (const [name, version] of [
    ['.cache/release', '0.1.0'],
    ['newer', '9.9.9'],
  ] as const) {
    const packed = await run(
      process.execPath,
      [join(ROOT, 'tools/pack-release.mjs'), '--fast', '--version', version, '--output', join(folder, name)],
      { timeoutMs: 120_000 },
    );
    if (packed.code !== 0) throw new Error(packed.stderr);
  }
  await using registry = await startDebianRegistry();
  const client = new RegistryClient();
  await pushHelloWorld(client.repository(`${registry.host}/library/hello-world`));
  await pushImage(client.repository(`${registry.host}/library/busybox`), 'latest', {
    layers: [await busyboxLayer(componentPath(COMPONENTS.busybox)!)],
    config: { Cmd: ['sh'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] },
  });
  await mkdir(join(folder, 'registry'), { recursive: true });
  await cp(registry.dataFolder, join(folder, 'registry'), { recursive: true });
  await cp(componentPath(COMPONENTS.registry)!, join(folder, 'docker-registry'));
  await cp(join(import.meta.dirname, 'story.sh'), join(folder, 'story.sh'));
  await client.close();
}
