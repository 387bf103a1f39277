/** The commands, each a few lines on the libraries. */
import { createReadStream, createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { ContainerError, familiarName, parsePlatform, parseReference } from '@tare/image-spec';
import { copyGraph, readImage } from '@tare/image-spec/content';
import { createLayer, decompress } from '@tare/layer-store';
import { flattenLayers } from '@tare/layer-store/archive';
import { Command } from 'commander';
import { documentOf, validate } from './image.ts';
import { temporaryStore } from './place.ts';
import { Tool, type GlobalOptions } from './session.ts';

/** As commander gives them. */
interface MutateOptions {
  label: string[];
  env: string[];
  annotation: string[];
  entrypoint?: string[];
  cmd?: string[];
  user?: string;
  workdir?: string;
}

const collect = (value: string, all: string[]): string[] => [...all, value];

/** What is around the commands. */
export interface Surroundings {
  /** Prints. */
  write(bytes: AsyncIterable<Uint8Array>): Promise<void>;
  /** Ends a command before its time; what it has begun is cleared away. */
  signal?: AbortSignal;
}

/**
 * Runs one command line (without the program's name).
 *
 * @returns whether all is well: `validate` may find faults without failing
 * @throws what went wrong
 */
export async function runTool(argv: readonly string[], { write, signal }: Surroundings): Promise<boolean> {
  let failed = false;
  const say = (line: string): Promise<void> => write(once(Buffer.from(`${line}\n`)));
  const program = new Command('image-tool')
    .exitOverride()
    .description(
      'Works on images in registries, OCI layouts (oci:DIRECTORY[:NAME]) and archives (archive:FILE[:NAME], or a path).',
    )
    .option(
      '--platform <os/arch>',
      'the image of an index to take; copies take all unless it is given',
      parsePlatform,
    )
    .option('--insecure <host>', 'registry that may be reached over plain http', collect, [])
    .option('-q, --quiet', 'tell nothing of transfers', false);

  /** Adds a command; what it uses is released when it ends. */
  function command(
    name: string,
    description: string,
    run: (tool: Tool, args: string[], options: Record<string, unknown>) => Promise<void>,
  ): Command {
    return program
      .command(name)
      .description(description)
      .action(async (...given: unknown[]) => {
        const args = given.slice(0, -2).flat() as string[];
        await using stack = new AsyncDisposableStack();
        await run(
          new Tool(stack, program.opts<GlobalOptions>(), signal),
          args,
          given.at(-2) as Record<string, unknown>,
        );
      });
  }

  const copies = [
    ['pull <image> <place>', 'copy an image from a registry to an archive or layout'],
    ['push <place> <image>', 'copy an image from an archive or layout to a registry'],
    ['copy <from> <to>', 'copy an image from any place to any other'],
  ] as const;
  for (const [name, description] of copies) {
    command(name, description, (tool, [from, to], { oci }) => tool.copy(from!, to!, oci === true)).option(
      '--oci',
      "with OCI's media types in place of Docker's, for tools that know no others; changes the digest",
    );
  }

  command('ls <repository>', 'list the tags of a repository', async ({ client }, [name]) => {
    for await (const tag of client.repository(name!).tags()) await say(tag);
  });

  command('catalog <registry>', 'list the repositories of a registry', async ({ client }, [registry]) => {
    for await (const name of client.catalog(registry!)) await say(name);
  });

  command(
    'tag <image> <tag>',
    'give another tag to an image of a registry',
    async ({ client }, [name, tag]) => {
      const repository = client.repository(name!);
      await repository.tag(await repository.resolve(), tag!);
    },
  );

  command('delete <image>', 'delete a tag, or the manifest with a digest', async ({ client }, [name]) => {
    const repository = client.repository(name!);
    const { digest, tag } = repository.reference;
    if (digest === undefined && tag === undefined)
      throw new Error(`${name} names neither a tag nor a digest`);
    // only what is there can be deleted, and it says so
    const descriptor = await repository.resolve();
    if (digest !== undefined) return repository.delete(descriptor);
    await repository.untag(tag!).catch((error: unknown) => {
      if (!ContainerError.is(error) || !['UNSUPPORTED', 'REFUSED'].includes(error.code)) throw error;
      const manifest = `${familiarName(repository.reference)}@${descriptor.digest}`;
      throw new Error(`this registry deletes no tags, only manifests with all their tags: ${manifest}`, {
        cause: error,
      });
    });
  });

  command('digest <image>', 'print the digest of an image', async (tool, [name], { fullRef }) => {
    const { digest } = (await tool.open(name!)).descriptor;
    await say(fullRef ? `${familiarName(parseReference(name!))}@${digest}` : digest);
  }).option('--full-ref', 'with the name of the repository');

  command(
    'manifest <image>',
    'print the manifest or index of an image, byte for byte',
    async (tool, [name]) => {
      const { source, descriptor } = await tool.open(name!);
      await write(once(await documentOf(source, descriptor)));
    },
  );

  command('config <image>', 'print the config of an image, byte for byte', async (tool, [name]) => {
    const { source, descriptor } = await tool.open(name!);
    await write(once((await readImage(source, descriptor, tool.platform)).configBytes));
  });

  command(
    'export <image> [file]',
    'write the file system of an image as one archive',
    async (tool, [name, file]) => {
      const { source, descriptor } = await tool.open(name!);
      const store = await temporaryStore(tool.context);
      // layers are read twice
      const { descriptor: manifest, layers } = await readImage(source, descriptor, tool.platform);
      await copyGraph(source, store, manifest, signal ? { signal } : {});
      const archive = flattenLayers(layers.map((layer) => () => store.fetch(layer.descriptor)));
      if (file === undefined || file === '-') await write(archive);
      else await pipeline(archive, createWriteStream(file));
    },
  );

  command('append <base> <to>', 'put layers on top of an image', async (tool, [base, to], { file, zstd }) => {
    const digest = await tool.change(base!, to!, async (store) => {
      const layers = [];
      for (const path of file as string[]) {
        const archive = decompress(createReadStream(path));
        layers.push(await createLayer(store, archive, { compression: zstd ? 'zstd' : 'gzip' }));
      }
      return { layers, createdBy: `image-tool append ${(file as string[]).join(' ')}` };
    });
    await say(digest);
  })
    .requiredOption('-f, --file <archive>', 'a layer: an archive, plain, gzip or zstd', collect, [])
    .option('--zstd', 'compress with zstd in place of gzip');

  command('mutate <image> <to>', 'change how an image is run', async (tool, [image, to], options) => {
    const digest = await tool.change(image!, to!, async () => {
      const { label, env, annotation, entrypoint, cmd, user, workdir } = options as unknown as MutateOptions;
      return {
        ...(annotation.length > 0 && { annotations: pairs(annotation) }),
        createdBy: 'image-tool mutate',
        config(config) {
          if (label.length > 0)
            config['Labels'] = { ...(config['Labels'] as object | null), ...pairs(label) };
          const kept = ((config['Env'] as string[] | null) ?? []).filter(
            (old) => !env.some((new_) => nameOf(new_) === nameOf(old)),
          );
          if (env.length > 0) config['Env'] = [...kept, ...env];
          if (entrypoint) config['Entrypoint'] = entrypoint;
          if (cmd) config['Cmd'] = cmd;
          if (user !== undefined) config['User'] = user;
          if (workdir !== undefined) config['WorkingDir'] = workdir;
        },
      };
    });
    await say(digest);
  })
    .option('-l, --label <key=value>', 'set a label', collect, [])
    .option('-e, --env <name=value>', 'set a variable', collect, [])
    .option('-a, --annotation <key=value>', 'set an annotation of the manifest', collect, [])
    .option('--entrypoint <word...>', 'set the entry point')
    .option('--cmd <word...>', 'set the command')
    .option('-u, --user <user>', 'set the user')
    .option('-w, --workdir <path>', 'set the working directory');

  command(
    'validate <image>',
    'check documents, digests, sizes and layers of an image',
    async (tool, [name]) => {
      const { source, descriptor } = await tool.open(name!);
      for await (const wrong of validate(source, descriptor)) {
        await say(wrong);
        failed = true;
      }
    },
  );

  await program.parseAsync(argv, { from: 'user' });
  return !failed;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

function pairs(texts: readonly string[]): Record<string, string> {
  return Object.fromEntries(texts.map((text) => [nameOf(text), text.slice(nameOf(text).length + 1)]));
}

function nameOf(pair: string): string {
  return pair.split('=', 1)[0]!;
}
