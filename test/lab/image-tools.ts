/** skopeo and umoci from their Debian packages, for exchanging images with them. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { COMPONENTS, componentFolders, componentPath, fetchComponents, type Component } from './debian.ts';
import { run, type Finished } from './process.ts';

/** A program that is called to its end; throws with its output when it fails. */
export type ImageTool = (...args: string[]) => Promise<string>;

/** What there is of the two, fetched when it is not there yet; the reason is printed for what cannot be had. */
export async function imageTools(): Promise<{ skopeo: ImageTool | undefined; umoci: ImageTool | undefined }> {
  const wanted: Component[] = [COMPONENTS.skopeo, COMPONENTS.umoci];
  if (wanted.some((component) => componentPath(component) === undefined)) {
    for (const { component, reason } of await fetchComponents()) {
      if (wanted.includes(component)) console.warn(`skipped: ${component.costs}: ${reason}`);
    }
  }
  return { skopeo: toolOf(COMPONENTS.skopeo), umoci: toolOf(COMPONENTS.umoci) };
}

function toolOf(component: Component): ImageTool | undefined {
  const program = componentPath(component);
  if (program === undefined) return undefined;
  return async (...args) => {
    // a home of its own: no policy, credentials or registries of this machine
    const home = mkdtempSync(join(tmpdir(), 'tare-tool-'));
    try {
      writeFileSync(join(home, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
      writeFileSync(join(home, 'registries.conf'), '');
      const own = component.name === 'skopeo' ? ['--policy', join(home, 'policy.json')] : [];
      const finished: Finished = await run(program, [...own, ...args], {
        timeoutMs: 60_000,
        env: {
          PATH: process.env['PATH'],
          HOME: home,
          XDG_RUNTIME_DIR: home,
          CONTAINERS_REGISTRIES_CONF: join(home, 'registries.conf'),
          LD_LIBRARY_PATH: libraryFolders(component).join(':'),
        },
      });
      if (finished.code !== 0) {
        throw new Error(
          `${component.name} ${args.join(' ')} ended with ${finished.code}\n${finished.stderr}`,
        );
      }
      return finished.stdout;
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  };
}

function libraryFolders(component: Component): string[] {
  const architecture = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  return componentFolders(component)
    .flatMap((folder) => [join(folder, 'lib', architecture), join(folder, 'usr/lib', architecture)])
    .filter((folder) => existsSync(folder));
}
