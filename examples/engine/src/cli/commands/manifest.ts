/** `manifest`: puts images of several platforms under one name, at a registry, without the daemon. */
import { Readable } from 'node:stream';
import type { Descriptor, Platform } from '@tare/image-spec';
import type { RegistryClient } from '@tare/registry-client';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { CliError, ManyErrors } from '../errors.ts';
import { list, string, toggle } from '../flags.ts';
import { ManifestLists, type ListedManifest } from '../manifest-lists.ts';
import { parseImageName } from '../values/image-name.ts';

const insecure = toggle('Allow communication with an insecure registry');
const indexTypes = {
  docker: 'application/vnd.docker.distribution.manifest.list.v2+json',
  oci: 'application/vnd.oci.image.index.v1+json',
};

const lists = (cli: Cli): ManifestLists => new ManifestLists(cli.config.folder);

/** A client of the registries themselves, with the user's credentials. */
async function openClient(
  cli: Cli,
  names: readonly string[],
  allowInsecure: boolean,
): Promise<RegistryClient> {
  const [{ RegistryClient: Client }, { parseReference }] = await Promise.all([
    import('@tare/registry-client'),
    import('@tare/image-spec'),
  ]);
  return new Client({
    insecure: allowInsecure ? names.map((name) => parseReference(name).registry) : [],
    credentials: {
      async get(registry: string) {
        const found = await cli.config.credentials(registry);
        if (!found) return undefined;
        const { username = '', password = '', identitytoken } = found;
        return identitytoken ? { identityToken: identitytoken } : { username, password };
      },
    },
  });
}

/** Fetches a manifest, with the platform that its image says it is for. */
async function fetchManifest(client: RegistryClient, canonical: string): Promise<ListedManifest> {
  const { MAX_DOCUMENT_BYTES, isIndexType } = await import('@tare/image-spec');
  const { readBytes } = await import('@tare/image-spec/content');
  const repository = client.repository(canonical);
  const descriptor = await repository.resolve();
  const read = async (of: Descriptor): Promise<Buffer> =>
    Buffer.from(await readBytes(await repository.fetch(of), MAX_DOCUMENT_BYTES));
  const raw = await read(descriptor);
  const whole: Descriptor = { mediaType: descriptor.mediaType, digest: descriptor.digest, size: raw.length };
  if (!isIndexType(descriptor.mediaType)) {
    const { config } = JSON.parse(raw.toString()) as { config: Descriptor };
    const image = JSON.parse((await read(config)).toString()) as Platform;
    whole.platform = platformOf(image);
  }
  return { Ref: canonical, Descriptor: whole, Raw: raw.toString('base64') };
}

function platformOf(image: Platform): Platform {
  const { architecture, os, variant, 'os.version': version, 'os.features': features } = image;
  return {
    architecture,
    os,
    ...(version && { 'os.version': version }),
    ...(features && { 'os.features': features }),
    ...(variant && { variant }),
  };
}

const content = ({ Raw }: ListedManifest): unknown => JSON.parse(Buffer.from(Raw, 'base64').toString());

/** The list as it would be pushed. */
function indexOf(manifests: readonly ListedManifest[]): unknown {
  const isDocker = manifests.every(({ Descriptor: { mediaType } }) =>
    mediaType.startsWith('application/vnd.docker.'),
  );
  return {
    schemaVersion: 2,
    mediaType: isDocker ? indexTypes.docker : indexTypes.oci,
    manifests: manifests.map(({ Descriptor: { mediaType, digest, size, platform } }) => ({
      mediaType,
      size,
      digest,
      platform,
    })),
  };
}

/** `manifest inspect`. */
export const inspect = defineCommand({
  usage: '[OPTIONS] [MANIFEST_LIST] MANIFEST',
  summary: 'Display an image manifest, or manifest list',
  args: { min: 1, max: 2 },
  flags: {
    insecure,
    verbose: toggle('Output additional info including layers and platform', { short: 'v' }),
  },
  async run({ cli, flags, args }) {
    const [first, second] = args.map((name) => parseImageName(name).canonical);
    const store = lists(cli);
    const show = (value: unknown): void => cli.print(JSON.stringify(value, null, flags.verbose ? '\t' : 3));
    if (second === undefined && store.has(first!)) {
      const manifests = store.all(first!);
      return show(flags.verbose ? manifests : indexOf(manifests));
    }
    const kept = second === undefined ? undefined : store.get(first!, second);
    if (kept) return show(flags.verbose ? kept : content(kept));
    const name = second ?? first!;
    await using client = await openClient(cli, [name], flags.insecure);
    const manifest = await fetchManifest(client, name).catch((cause: unknown) => {
      if ((cause as { code?: string }).code === 'NOT_FOUND') {
        throw new CliError(`no such manifest: ${name}`, { cause });
      }
      throw cause;
    });
    if (!flags.verbose) return show(content(manifest));
    const { manifests } = content(manifest) as { manifests?: Descriptor[] };
    if (!manifests) return show(manifest);
    const repository = name.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
    const all = [];
    for (const { digest, platform } of manifests) {
      const one = await fetchManifest(client, `${repository}@${digest}`);
      all.push({ ...one, Descriptor: { ...one.Descriptor, platform } });
    }
    return show(all);
  },
});

/** `manifest create`. */
export const create = defineCommand({
  usage: 'MANIFEST_LIST MANIFEST [MANIFEST...]',
  summary: 'Create a local manifest list for annotating and pushing to a registry',
  args: { min: 2, max: Infinity },
  flags: { amend: toggle('Amend an existing manifest list', { short: 'a' }), insecure },
  async run({ cli, flags, args }) {
    const [target, ...manifests] = args.map((name) => parseImageName(name).canonical) as [
      string,
      ...string[],
    ];
    const store = lists(cli);
    if (store.has(target) && !flags.amend)
      throw new CliError('refusing to amend an existing manifest list with no --amend flag');
    await using client = await openClient(cli, manifests, flags.insecure);
    // all first: a list is made whole or not at all
    const found: ListedManifest[] = [];
    for (const name of manifests) {
      const manifest = store.get(target, name) ?? (await fetchManifest(client, name));
      if ((content(manifest) as { manifests?: unknown }).manifests) {
        throw new CliError(
          `${name} is a manifest list: name one of its manifests by digest, as 'tare manifest inspect ${name}' shows them`,
        );
      }
      found.push(manifest);
    }
    for (const manifest of found) store.put(target, manifest);
    cli.print(`Created manifest list ${target}`);
  },
});

/** `manifest annotate`. */
export const annotate = defineCommand({
  usage: '[OPTIONS] MANIFEST_LIST MANIFEST',
  summary: 'Add additional information to a local image manifest',
  args: { min: 2 },
  flags: {
    arch: string('Set architecture'),
    os: string('Set operating system'),
    osFeatures: list('Set operating system feature', { placeholder: 'strings' }),
    osVersion: string('Set operating system version'),
    variant: string('Set architecture variant'),
  },
  async run({ cli, flags, args }) {
    const [target, name] = args.map((given) => parseImageName(given).canonical) as [string, string];
    const store = lists(cli);
    const manifest = store.get(target, name);
    if (!manifest) throw new CliError(`manifest for image ${name} does not exist in ${target}`);
    const platform = { ...manifest.Descriptor.platform } as Platform;
    if (flags.os) platform.os = flags.os;
    if (flags.arch) platform.architecture = flags.arch;
    if (flags.variant) platform.variant = flags.variant;
    if (flags.osVersion) platform['os.version'] = flags.osVersion;
    if (flags.osFeatures.length > 0) {
      const features = flags.osFeatures.flatMap((text) => text.split(','));
      platform['os.features'] = [...new Set([...(platform['os.features'] ?? []), ...features])];
    }
    store.put(target, { ...manifest, Descriptor: { ...manifest.Descriptor, platform } });
  },
});

/** `manifest push`. */
export const push = defineCommand({
  usage: '[OPTIONS] MANIFEST_LIST',
  summary: 'Push a manifest list to a repository',
  args: { min: 1 },
  flags: {
    insecure: toggle('Allow push to an insecure registry'),
    purge: toggle('Remove the local manifest list after push', { short: 'p' }),
  },
  async run({ cli, flags, args }) {
    const target = parseImageName(args[0]!);
    const { repository } = target;
    const store = lists(cli);
    if (!store.has(target.canonical)) throw new CliError(`${target.canonical} not found`);
    const manifests = store.all(target.canonical);
    const [{ copyGraph }, { digestOf }] = await Promise.all([
      import('@tare/image-spec/content'),
      import('@tare/image-spec'),
    ]);
    await using client = await openClient(
      cli,
      [target.canonical, ...manifests.map(({ Ref }) => Ref)],
      flags.insecure,
    );
    const sink = client.repository(target.canonical);
    for (const { Ref, Descriptor: descriptor } of manifests) {
      await copyGraph(client.repository(Ref), sink, descriptor);
      cli.print(`Pushed ref ${repository}@${descriptor.digest} with digest: ${descriptor.digest}`);
    }
    const index = indexOf(manifests) as { mediaType: string };
    const bytes = Buffer.from(JSON.stringify(index, null, 3));
    const descriptor = { mediaType: index.mediaType, digest: await digestOf(bytes), size: bytes.length };
    await sink.push(descriptor, Readable.from([bytes]));
    await sink.tag(descriptor, target.target);
    if (flags.purge) store.remove(target.canonical);
    cli.print(descriptor.digest);
  },
});

/** `manifest rm`. */
export const rm = defineCommand({
  usage: 'MANIFEST_LIST [MANIFEST_LIST...]',
  summary: 'Delete one or more manifest lists from local storage',
  args: { min: 1, max: Infinity },
  flags: {},
  async run({ cli, args }) {
    const store = lists(cli);
    const failures: unknown[] = [];
    for (const name of args) {
      const { canonical } = parseImageName(name);
      if (store.has(canonical)) store.remove(canonical);
      else failures.push(new CliError(`No such manifest: ${canonical}`));
    }
    if (failures.length > 0) throw new ManyErrors(failures);
  },
});
