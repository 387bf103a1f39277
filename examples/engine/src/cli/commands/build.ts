/** `tare build`: builds an image of a Dockerfile. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { createGzip } from 'node:zlib';
import type { ContextToSend } from '../build-context.ts';
import { assignments, buildFlags, isArchive, type BuildFlags } from '../build-flags.ts';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { encodeRegistryConfig } from '../config-file.ts';
import { CliError, UsageError } from '../errors.ts';
import { displayProgress, progressFlag, type ProgressMode } from '../progress.ts';
import { metered } from '../upload.ts';
import { parseImageName } from '../values/image-name.ts';

/** `build`. */
export const command = defineCommand({
  usage: '[OPTIONS] PATH | URL | -',
  summary: 'Build an image from a Dockerfile',
  args: { min: 1 },
  flags: buildFlags,
  async run({ cli, flags, args: [source] }) {
    for (const name of flags.tag) parseImageName(name);
    const mode = flags.quiet ? 'quiet' : modeOf(flags.progress, cli.environment);
    if (!wantsClassic(cli, flags)) {
      // loaded when it is needed: other commands start without it
      const { buildCommand } = await import('../buildkit/command.ts');
      return buildCommand(cli, flags, source!, mode);
    }
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

/** The classic builder's way, for daemons that have no other, and for limits that only it knows. */
function wantsClassic({ environment }: Cli, flags: BuildFlags): boolean {
  const { memory, memorySwap, cpuPeriod, cpuQuota, cpuShares, cpusetCpus, cpusetMems, squash } = flags;
  if (environment['DOCKER_BUILDKIT'] === '0') return true;
  return [memory, memorySwap, cpuPeriod, cpuQuota, cpuShares, cpusetCpus, cpusetMems, squash].some(Boolean);
}

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
  // BuildKit's way needs none of it
  const { packContext, packDockerfile } = await import('../build-context.ts');
  if (source !== '-') {
    if (file !== '-') return packContext(source, file, cli.workingDirectory);
    throw new UsageError('a Dockerfile from standard input needs the context from there, too: tare build -');
  }
  const input = await buffer(cli.stdin as unknown as Readable);
  if (isArchive(input)) return { archive: Readable.from([input]), dockerfile: file || 'Dockerfile' };
  return packDockerfile(input);
}
