/** The flags of `tare build`, and what both of its ways to the daemon make of them. */
import { list, string, toggle, type FlagValues } from './flags.ts';
import { progressFlag } from './progress.ts';
import { containerFlags } from './run-flags.ts';

const { cgroupParent, cpuPeriod, cpuQuota, cpuShares, cpusetCpus, cpusetMems, isolation } = containerFlags;
const { memory, memorySwap, shmSize, ulimit } = containerFlags;

export const buildFlags = {
  allow: list('Allow extra privileged entitlement (e.g., "network.host", "security.insecure")'),
  addHost: list('Add a custom host-to-IP mapping ("host:ip")'),
  buildArg: list('Set build-time variables'),
  buildContext: list('Additional build contexts (e.g., name=path)'),
  cacheFrom: list('External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")'),
  cacheTo: list('Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")'),
  cgroupParent,
  call: string('Set method for evaluating build ("check", "outline", "targets")', { initial: 'build' }),
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
  load: toggle('Shorthand for "--output=type=docker"'),
  memory,
  memorySwap,
  metadataFile: string('Write build result metadata to a file'),
  network: string('Set the networking mode for the RUN instructions during build', { initial: 'default' }),
  noCache: toggle('Do not use cache when building the image'),
  noCacheFilter: list('Do not cache specified stages'),
  output: list('Output destination (format: "type=local,dest=path")', { short: 'o' }),
  platform: string('Set platform if server is multi-platform capable'),
  progress: progressFlag,
  pull: toggle('Always attempt to pull a newer version of the image'),
  push: toggle('Shorthand for "--output=type=registry"'),
  quiet: toggle('Suppress the build output and print image ID on success', { short: 'q' }),
  rm: toggle('Remove intermediate containers after a successful build', { initial: true }),
  secret: list('Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")'),
  securityOpt: list('Security options', { placeholder: 'strings' }),
  shmSize,
  ssh: list('SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>]")'),
  squash: toggle('Squash newly built layers into a single new layer'),
  tag: list('Name and optionally a tag in the "name:tag" format', { short: 't' }),
  target: string('Set the target build stage to build'),
  ulimit,
};

/** Their values. */
export type BuildFlags = FlagValues<typeof buildFlags>;

/** First bytes of gzip, zstd, bzip2 and xz, in hexadecimal digits. */
const COMPRESSED = ['1f8b', '28b52ffd', '425a68', 'fd377a585a00'];

export function isArchive(bytes: Buffer): boolean {
  const head = bytes.subarray(0, 6).toString('hex');
  return COMPRESSED.some((magic) => head.startsWith(magic)) || bytes.toString('latin1', 257, 262) === 'ustar';
}

/** `NAME=value`; a name alone takes its value from the environment, and is left to the default when it has none there. */
export function assignments(
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
