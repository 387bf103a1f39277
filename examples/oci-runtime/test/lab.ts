/** What the tests of the command share: bundles, the built command, and its peers from Debian. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultSpec, type Spec } from '@tare/runtime-native/spec';

import { componentFolders, componentPath, type Component } from '../../../test/lab/debian.ts';
import { run, type Finished } from '../../../test/lab/process.ts';

/** The command as it is built. */
export const COMMAND = join(import.meta.dirname, '../dist/oci-runtime');

/** Why the command cannot be tested, if it cannot. */
export const notBuilt = existsSync(COMMAND)
  ? undefined
  : 'the command is not built: node examples/oci-runtime/scripts/bundle.mjs';

/** A runtime's command, ours or a peer's. */
export interface RuntimeCommand {
  name: string;
  run(args: string[]): Promise<Finished>;
}

const LIBRARIES = [
  'usr/lib/x86_64-linux-gnu',
  'lib/x86_64-linux-gnu',
  'usr/lib/aarch64-linux-gnu',
  'lib/aarch64-linux-gnu',
];

/** The environment of a program from Debian's packages: libraries that came with it, programs of its own and others. */
export function environmentOf(component: Component): NodeJS.ProcessEnv {
  const folders = componentFolders(component);
  return {
    PATH: [
      ...folders.flatMap((folder) => [join(folder, 'usr/bin'), join(folder, 'usr/sbin')]),
      process.env.PATH,
    ].join(':'),
    LD_LIBRARY_PATH: folders.flatMap((folder) => LIBRARIES.map((path) => join(folder, path))).join(':'),
  };
}

/** Through files: a container that goes on would keep pipes open. */
async function throughFiles(command: string[], env: NodeJS.ProcessEnv): Promise<Finished> {
  const directory = mkdtempSync(join(tmpdir(), 'oci-runtime-'));
  const [out, err] = [join(directory, 'out'), join(directory, 'err')];
  try {
    const script = 'out=$1 err=$2; shift 2; exec "$@" < /dev/null > "$out" 2> "$err"';
    const { code } = await run('sh', ['-c', script, 'sh', out, err, ...command], { env });
    return { code, stdout: readFileSync(out, 'utf8'), stderr: readFileSync(err, 'utf8') };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export function ourCommand(root: string): RuntimeCommand {
  return {
    name: 'oci-runtime',
    run: (args) => throughFiles([COMMAND, '--root', root, ...args], process.env),
  };
}

/** A peer; undefined, with the reason printed, when it cannot be had. crun sees version 1 of cgroups only. */
export function peerCommand(component: Component, root: string): RuntimeCommand | undefined {
  const path = componentPath(component);
  if (path === undefined) {
    console.warn(`skipped: ${component.costs} (${component.name} is not there: tools/test.mjs fetches it)`);
    return undefined;
  }
  const env = environmentOf(component);
  const hidden = existsSync('/sys/fs/cgroup/unified') ? 'mount -t tmpfs none /sys/fs/cgroup/unified;' : '';
  const script = `${hidden} exec "$@"`;
  return {
    name: component.name,
    run: (args) =>
      throughFiles(['unshare', '--mount', 'sh', '-c', script, 'sh', path, '--root', root, ...args], env),
  };
}

/** A bundle whose process runs `args` in `rootfs`. */
export function makeBundle(
  directory: string,
  rootfs: string,
  args: string[],
  change: (spec: Spec) => void = () => {},
): string {
  mkdirSync(directory, { recursive: true });
  const spec = defaultSpec(args);
  spec.ociVersion = '1.0.2';
  spec.root = { path: rootfs };
  spec.process!.env = ['PATH=/bin'];
  spec.annotations = { note: 'one' };
  change(spec);
  writeFileSync(join(directory, 'config.json'), JSON.stringify(spec));
  return directory;
}
