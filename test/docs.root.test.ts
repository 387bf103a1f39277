/**
 * The commands and programs of the documents. A block of shell commands is run, line by line, by one shell for each document:
 * as root, beside a daemon and a mirror with images, where what it writes to the machine is thrown away. A block that
 * another test covers says which by a comment above it; its lines are then looked for there.
 */
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pushHelloWorld } from '@tare/hello-world';
import { bringUpLoopback } from '@tare/netdriver';
import { RegistryClient } from '@tare/registry-client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from './lab/debian.ts';
import { blocksOf, type Block } from './lab/documents.ts';
import { busyboxLayer, pushImage } from './lab/images.ts';
import { ownNetwork } from './lab/leftovers.ts';
import { run } from './lab/process.ts';
import { startDebianRegistry } from './lab/registry.ts';

const ROOT = join(import.meta.dirname, '..');
const DOCUMENTS = [
  'README.md',
  'README.zh-CN.md',
  'docs/install.md',
  'docs/tutorial.md',
  'docs/coming-from-dockerd.md',
  'docs/guides/run-the-engine.md',
  'docs/guides/build-an-engine.md',
  'docs/guides/use-a-package.md',
];

const blocksIn = (document: string): Block[] => blocksOf(join(ROOT, document));

/** Blocks that are run here: shell, unless a remark says where else, or why not. */
function runHere({ language, remark }: Block): boolean {
  return language === 'sh' && !/^tested by:|^not run here:/.test(remark);
}

describe('the documents', () => {
  test.each(DOCUMENTS)('%s leads to files that are there', (document) => {
    const text = readFileSync(join(ROOT, document), 'utf8');
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)/g)].map(([, target]) => target!);
    const missing = links.filter((target) => !existsSync(join(ROOT, dirname(document), target)));
    expect(missing).toEqual([]);
  });

  test.each(DOCUMENTS)('%s has nothing that no test runs', (document) => {
    for (const { text, remark, language, line } of blocksIn(document)) {
      const files = /^tested by: (.*)$/.exec(remark)?.[1]?.split(', ');
      // drawings have no language
      if (!files || language === 'text') continue;
      const sources = files.map((file) => readFileSync(join(ROOT, file), 'utf8')).join('\n');
      const flat = (code: string): string =>
        code
          .replace(/["'`,]/g, ' ')
          .replace(/\s+/g, ' ')
          .trim();
      // a program is there as it is, and commands line by line
      const parts =
        language === 'ts' ? [text] : text.split('\n').filter((command) => !/^\s*(#|$)/.test(command));
      for (const part of parts)
        expect(flat(sources), `${document}:${line}`).toContain(flat(part).replace(/^node tools\//, 'tools/'));
    }
  });
});

const missing = whyNot();

function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!ownNetwork()) return 'needs a network namespace of its own: npm test, or vitest under unshare --net';
  if (!existsSync(join(ROOT, 'examples/engine/dist/start.js')))
    return 'needs the bundle: node tools/boot.mjs';
  const needed = [COMPONENTS.registry, COMPONENTS.busybox, COMPONENTS.docker];
  const lacking = needed.filter((component) => componentPath(component) === undefined);
  return lacking.length > 0 ? `needs ${lacking.map(({ name }) => name).join(', ')}` : undefined;
}

/** Hides what an engine writes to, starts one when the document does not do so itself, and ends it whatever happens. */
const STAGE = `
set -e
mount --make-rprivate /
mkdir -p hidden && mount -t tmpfs tmpfs hidden
for folder in etc tmp; do
  mkdir hidden/$folder hidden/$folder.work
  mount -t overlay -o lowerdir=/$folder,upperdir=hidden/$folder,workdir=hidden/$folder.work overlay /$folder
done
for folder in /run /var/lib; do mount -t tmpfs tmpfs $folder; done
mkdir -p /etc/tare && printf '{ "registry-mirrors": ["http://%s"] }' "$MIRROR" > /etc/tare/daemon.json
finish() {
  code=$?
  for id in $(tare ps -aq 2>/dev/null); do tare rm -f "$id" >/dev/null; done
  [ ! -e /run/tare.pid ] || kill "$(cat /run/tare.pid)"
  wait
  exit $code
}
trap finish EXIT
started() {
  for try in $(seq 200); do tare version >/dev/null 2>&1 && return; sleep 0.1; done
  echo 'the daemon does not answer' >&2; return 1
}
`;

describe.skipIf(missing !== undefined)(`the commands${missing ? ` (skipped: ${missing})` : ''}`, () => {
  const stack = new AsyncDisposableStack();
  let folder: string;
  let mirror: string;
  beforeAll(async () => {
    await bringUpLoopback('/proc/self/ns/net');
    folder = await mkdtemp(join(tmpdir(), 'docs-'));
    stack.defer(() => rm(folder, { recursive: true, force: true }));
    const registry = stack.use(await startDebianRegistry());
    mirror = registry.host;
    const client = stack.use(new RegistryClient());
    await pushHelloWorld(client.repository(`${mirror}/library/hello-world`));
    await pushImage(client.repository(`${mirror}/library/busybox`), 'latest', {
      layers: [await busyboxLayer(componentPath(COMPONENTS.busybox)!)],
      config: { Cmd: ['sh'], Env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'] },
    });
    await mkdir(join(folder, 'bin'));
    const docker = join(folder, 'bin', 'docker');
    await writeFile(docker, `#!/bin/sh\nexec '${componentPath(COMPONENTS.docker)!}' "$@"\n`);
    await chmod(docker, 0o755);
  });
  afterAll(() => stack.disposeAsync());

  test.each(DOCUMENTS.filter((document) => blocksIn(document).some(runHere)))(
    'of %s succeed',
    { timeout: 120_000 },
    async (document) => {
      const commands = blocksIn(document)
        .filter(runHere)
        .map(({ text }) => text)
        .join('\n');
      const startsItself = /^tare daemon &/m.test(commands);
      const script = [
        STAGE,
        startsItself ? '' : 'tare daemon 2>>daemon.log &\nstarted',
        `cd '${ROOT}'`,
        'set -x',
        commands.replace(
          /^tare daemon &.*$/m,
          (line) => `${line.replace('&', "2>>'/run/daemon.log' &")}\nstarted`,
        ),
        'set +x',
      ].join('\n');
      await writeFile(join(folder, 'script'), script);
      const { code, stdout, stderr } = await run(
        'unshare',
        ['--mount', '--pid', '--fork', '--mount-proc', '--kill-child', 'bash', 'script'],
        {
          cwd: folder,
          timeoutMs: 110_000,
          env: {
            PATH: `${join(folder, 'bin')}:${join(ROOT, 'node_modules/.bin')}:${process.env.PATH}`,
            HOME: folder,
            MIRROR: mirror,
            DOCKER_CLI_HINTS: 'false',
          },
        },
      );
      expect(code, `${stdout}\n${stderr}`).toBe(0);
    },
  );
});
