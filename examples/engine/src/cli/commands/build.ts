/** `tare build`: builds an image of a Dockerfile. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { asReadable, packContext, type ContextToSend } from '../build-context.ts';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { encodeRegistryConfig } from '../config-file.ts';
import { CliError, UsageError } from '../errors.ts';
import { list, string, toggle } from '../flags.ts';
import { containerFlags } from '../run-flags.ts';
import { displayProgress, progressFlag, type ProgressMode } from '../progress.ts';
import { metered } from '../upload.ts';
import { parseImageName } from '../values/image-name.ts';

const { cgroupParent, cpuPeriod, cpuQuota, cpuShares, cpusetCpus, cpusetMems, isolation } = containerFlags;
const { memory, memorySwap, shmSize, ulimit } = containerFlags;

/** `build`. */
export const command = defineCommand({
  usage: '[OPTIONS] PATH | URL | -',
  summary: 'Build an image from a Dockerfile',
  args: { min: 1 },
  flags: {
    addHost: list('Add a custom host-to-IP mapping ("host:ip")'),
    buildArg: list('Set build-time variables'),
    cacheFrom: list('Images to consider as cache sources'),
    cgroupParent,
    check: toggle('Tell what is probably not meant, and build nothing'),
    compress: toggle('Compress the build context using gzip'),
    cpuPeriod,
    cpuQuota,
    cpuShares,
    cpusetCpus,
    cpusetMems,
    disableContentTrust: toggle('Skip image verification', { initial: true }),
    file: string('Name of the Dockerfile (default is "PATH/Dockerfile")', { short: 'f' }),
    forceRm: toggle('Always remove intermediate containers'),
    iidfile: string('Write the image ID to the file'),
    isolation,
    label: list('Set metadata for an image'),
    memory,
    memorySwap,
    network: string('Set the networking mode for the RUN instructions during build', { initial: 'default' }),
    noCache: toggle('Do not use cache when building the image'),
    platform: string('Set platform if server is multi-platform capable'),
    progress: progressFlag,
    pull: toggle('Always attempt to pull a newer version of the image'),
    quiet: toggle('Suppress the build output and print image ID on success', { short: 'q' }),
    rm: toggle('Remove intermediate containers after a successful build', { initial: true }),
    securityOpt: list('Security options', { placeholder: 'strings' }),
    shmSize,
    squash: toggle('Squash newly built layers into a single new layer'),
    tag: list('Name and optionally a tag in the "name:tag" format', { short: 't' }),
    target: string('Set the target build stage to build'),
    ulimit,
  },
  async run({ cli, flags, args: [source] }) {
    for (const name of flags.tag) parseImageName(name);
    const mode = flags.quiet ? 'quiet' : modeOf(flags.progress, cli.environment);
    const isUrl = /^https?:\/\//.test(source!);
    const context = isUrl ? undefined : await contextOf(cli, source!, flags.file);
    const response = await cli.client.call('POST', '/build', {
      query: {
        t: flags.tag,
        remote: isUrl ? source : undefined,
        dockerfile: context?.dockerfile ?? flags.file,
        q: flags.quiet,
        check: flags.check || undefined,
        cachefrom: flags.cacheFrom.length > 0 ? JSON.stringify(flags.cacheFrom) : undefined,
        nocache: flags.noCache,
        pull: flags.pull,
        rm: flags.rm,
        forcerm: flags.forceRm,
        cgroupparent: flags.cgroupParent,
        cpuperiod: flags.cpuPeriod || undefined,
        cpuquota: flags.cpuQuota || undefined,
        cpushares: flags.cpuShares || undefined,
        cpusetcpus: flags.cpusetCpus,
        cpusetmems: flags.cpusetMems,
        isolation: flags.isolation,
        memory: flags.memory || undefined,
        memswap: flags.memorySwap || undefined,
        securityopt: flags.securityOpt,
        shmsize: flags.shmSize || undefined,
        squash: flags.squash,
        ulimits: flags.ulimit.length > 0 ? JSON.stringify(flags.ulimit) : undefined,
        target: flags.target,
        platform: flags.platform || cli.environment['DOCKER_DEFAULT_PLATFORM'],
        networkmode: flags.network,
        extrahosts: flags.addHost.join(','),
        buildargs: JSON.stringify({
          ...cli.proxyVariables,
          ...assignments(flags.buildArg, cli.environment),
        }),
        labels: JSON.stringify(assignments(flags.label, {})),
      },
      headers: {
        'Content-Type': 'application/x-tar',
        'X-Registry-Config': encodeRegistryConfig(await cli.config.allCredentials()),
      },
      ...(context ? { body: bodyOf(cli, context.archive, flags.compress, mode) } : {}),
    });
    let id = '';
    let warnings = 0;
    const onAux = (aux: unknown): void => {
      const { ID, Warnings } = aux as { ID?: string; Warnings?: number };
      id = ID ?? id;
      warnings = Warnings ?? warnings;
    };
    await displayProgress(cli, response, { mode, onAux });
    if (flags.check) {
      if (warnings > 0)
        throw new CliError(`check complete, ${warnings} warning${warnings > 1 ? 's' : ''} found`);
      return cli.print('Check complete, no warnings found.');
    }
    if (flags.quiet) cli.print(id);
    if (flags.iidfile !== '') await writeFile(resolve(cli.workingDirectory, flags.iidfile), id);
  },
});

/** `BUILDKIT_PROGRESS` says what `auto` means, as for buildx. */
function modeOf(
  given: ProgressMode,
  environment: Readonly<Record<string, string | undefined>>,
): ProgressMode {
  const wish = environment['BUILDKIT_PROGRESS'];
  return given === 'auto' && wish ? progressFlag.parse(wish, given) : given;
}

function bodyOf(cli: Cli, archive: Readable, compress: boolean, mode: ProgressMode): Readable {
  const body = metered(cli, archive, 'Sending build context', 0, mode);
  return compress ? body.pipe(createGzip()) : body;
}

/** A directory, or what comes by standard input: a Dockerfile alone, or an archive. */
async function contextOf(cli: Cli, source: string, file: string): Promise<ContextToSend> {
  if (source !== '-') {
    if (file !== '-') return packContext(source, file, cli.workingDirectory);
    throw new UsageError('a Dockerfile from standard input needs the context from there, too: tare build -');
  }
  const input = await buffer(cli.stdin as unknown as Readable);
  if (isArchive(input)) return { archive: Readable.from([input]), dockerfile: file || 'Dockerfile' };
  const archive = pack();
  archive.entry({ name: 'Dockerfile', mode: 0o644 }, input);
  archive.finalize();
  return { archive: asReadable(archive), dockerfile: 'Dockerfile' };
}

/** First bytes of gzip, zstd, bzip2 and xz, in hexadecimal digits. */
const COMPRESSED = ['1f8b', '28b52ffd', '425a68', 'fd377a585a00'];

function isArchive(bytes: Buffer): boolean {
  const head = bytes.subarray(0, 6).toString('hex');
  return COMPRESSED.some((magic) => head.startsWith(magic)) || bytes.toString('latin1', 257, 262) === 'ustar';
}

/** `NAME=value`; a name alone takes its value from the environment, and is left to the default when it has none there. */
function assignments(
  given: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Record<string, string | null> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf('=');
      return at < 0 ? [text, environment[text] ?? null] : [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}
