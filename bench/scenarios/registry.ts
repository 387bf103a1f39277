/** Images between registries and directories, nothing unpacked: our image-tool beside skopeo. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { startDebianRegistry } from '../../test/lab/registry.ts';
import { prepareImages, serveImages } from '../image.ts';
import type { Bench, Scenario } from '../scenario.ts';
import { UsageTable } from '../usage-table.ts';
import { measure } from '../usage.ts';

/** Each takes ten seconds. */
const MAX_ROUNDS = 10;
const TOOL = join(import.meta.dirname, '../../examples/image-tool/src/main.ts');

export const scenario: Scenario = {
  title: 'Copies without unpacking: three layers, 150 MB, between registries and directories',
  prepare: prepareImages,
  async run(bench: Bench) {
    const folder = await mkdtemp(join(tmpdir(), 'tare-bench-'));
    bench.stack.defer(() => rm(folder, { recursive: true, force: true }));
    const { image } = await serveImages(bench.stack);

    const contestants = { 'image-tool': await ourTool(folder), 'skopeo copy': await skopeo(folder) };
    const tables = new Map<string, UsageTable>();
    const absent = new Map<string, string>();
    const rounds = Math.min(bench.rounds, MAX_ROUNDS);
    let round = 0;
    const take = async (title: string, name: string, command: string[]): Promise<void> => {
      try {
        const usage = await measure(command);
        if (round === 0) return;
        const table = tables.get(title) ?? new UsageTable();
        tables.set(title, table);
        table.add(name, usage);
      } catch (error) {
        if (name === 'image-tool') throw error;
        absent.set(name, (error as Error).message.split('\n')[0]!);
      }
    };
    // the first round warms the caches and is not counted
    for (; round <= rounds; round++) {
      for (const [name, copy] of Object.entries(contestants)) {
        // fresh every time, so that nobody finds anything there: skopeo remembers where it has seen what
        await using target = await startDebianRegistry();
        const to = target.host;
        const own = `${name.replace(' ', '-')}-${round}`;
        const layout = `oci:${join(folder, own)}:bench`;
        const copies = {
          'From a registry to a directory': [image, layout],
          'From a registry to another': [image, `${to}/${own}:image`],
          'The same again: all is there': [image, `${to}/${own}:image`],
        } as const;
        for (const [title, [source, destination]] of Object.entries(copies)) {
          await take(title, name, copy(source, destination));
        }
        await using empty = await startDebianRegistry();
        await take('From a directory to a registry', name, copy(layout, `${empty.host}/${own}:image`));
        await rm(join(folder, own), { recursive: true, force: true });
      }
      process.stderr.write(`\rregistry: round ${round} of ${rounds}`);
    }
    process.stderr.write('\n');
    for (const [title, table] of tables) table.report(bench, `${title} (${rounds} rounds)`);
    for (const [name, reason] of absent) bench.absent(name, reason);
    bench.note(
      "Medians of whole processes, their start included (Node.js takes a tenth of a second for it). Both registries are Debian's docker-registry, on loopback. Ours verifies every digest on both sides and makes what it stores durable (fsync).",
    );
  },
};

type Copy = (from: string, to: string) => string[];

/** One file, as an installed program is. */
async function ourTool(folder: string): Promise<Copy> {
  const outfile = join(folder, 'image-tool.mjs');
  await build({
    entryPoints: [TOOL],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['@tare/source'],
    // parts of it are written for require
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
  });
  return (from, to) => [process.execPath, outfile, 'copy', from, to];
}

async function skopeo(folder: string): Promise<Copy> {
  await mkdir(join(folder, 'skopeo'));
  const policy = join(folder, 'skopeo', 'policy.json');
  await writeFile(policy, '{"default":[{"type":"insecureAcceptAnything"}]}');
  const place = (text: string) => (text.startsWith('oci:') ? text : `docker://${text}`);
  const flags = ['--quiet', '--src-tls-verify=false', '--dest-tls-verify=false'];
  return (from, to) => ['skopeo', '--policy', policy, 'copy', ...flags, place(from), place(to)];
}
