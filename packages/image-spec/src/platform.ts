/** Platforms: one spelling for each, and which images run where. */
import type { Platform } from './descriptor.ts';
import { ImageSpecError } from './errors.ts';

const OS_ALIASES: Readonly<Record<string, string>> = { macos: 'darwin', win32: 'windows', sunos: 'solaris' };

/** Other spellings of an architecture, with the variant they imply. Keys are lower case. */
const ARCHITECTURE_ALIASES: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  i386: ['386'],
  i686: ['386'],
  ia32: ['386'],
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  x64: ['amd64'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  mipsel: ['mipsle'],
  loongarch64: ['loong64'],
  ppc64el: ['ppc64le'],
};

/**
 * The one spelling of a platform: lower case, Go's names for OS and architecture, and no variant where it is the
 * architecture's first (`amd64/v1`, `arm64/v8`). `arm` without a variant is `arm/v7`.
 *
 * Other fields, such as `os.version`, are kept.
 */
export function normalizePlatform(platform: Platform): Platform {
  const { variant: _, ...rest } = platform;
  const os = platform.os.toLowerCase();
  const spelled = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURE_ALIASES[spelled] ?? [spelled];
  const variant = normalizeVariant(architecture, platform.variant?.toLowerCase() || implied);
  return { ...rest, os: OS_ALIASES[os] ?? os, architecture, ...(variant && { variant }) };
}

function normalizeVariant(architecture: string, variant: string | undefined): string | undefined {
  const withV = variant !== undefined && /^\d/.test(variant) ? `v${variant}` : variant;
  switch (architecture) {
    case 'amd64':
      return withV === 'v1' ? undefined : withV;
    case 'arm64':
      return withV === 'v8' || withV === 'v8.0' ? undefined : withV;
    case 'arm':
      return withV ?? 'v7';
    default:
      return variant;
  }
}

/**
 * Parses `os/architecture[/variant]`, as in `docker pull --platform`. The result is normalised.
 *
 * A single word is an architecture when it is a known one (then the OS is linux), and an OS otherwise is refused,
 * since this package does not know the machine it runs on.
 *
 * @throws {ImageSpecError} `INVALID_PLATFORM`
 */
export function parsePlatform(text: string): Platform {
  const parts = text.split('/');
  if (parts.length > 3 || !parts.every((part) => /^[A-Za-z0-9_.-]+$/.test(part))) throw invalidPlatform(text);
  if (parts.length === 1) {
    const platform = normalizePlatform({ os: 'linux', architecture: text });
    if (!KNOWN_ARCHITECTURES.has(platform.architecture)) throw invalidPlatform(text);
    return platform;
  }
  const [os, architecture, variant] = parts as [string, string, string?];
  return normalizePlatform({ os, architecture, ...(variant && { variant }) });
}

const KNOWN_ARCHITECTURES: ReadonlySet<string> = new Set(
  '386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm'.split(' '),
);

function invalidPlatform(text: string): ImageSpecError {
  return new ImageSpecError(
    'INVALID_PLATFORM',
    `invalid platform ${JSON.stringify(text.slice(0, 160))}: expected os/architecture[/variant], for example linux/arm64/v8`,
  );
}

/** `os/architecture[/variant]` of the normalised platform. */
export function formatPlatform(platform: Platform): string {
  const { os, architecture, variant } = normalizePlatform(platform);
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/**
 * The platform of a Node.js process, given its `process` object (or anything with the same two fields).
 *
 * The variant of `arm` is the one Node.js itself requires, v7.
 */
export function platformOfProcess(process: { platform: string; arch: string }): Platform {
  return normalizePlatform({ os: process.platform, architecture: process.arch });
}

/** Whether an image for `offered` runs on `wanted`; see {@link platformRank}. */
export function matchesPlatform(wanted: Platform, offered: Platform): boolean {
  return platformRank(wanted, offered) !== Infinity;
}

/**
 * How well an image for `offered` suits `wanted`: 0 is exact, more is worse, `Infinity` does not run.
 *
 * In order: the same variant; older variants, newest first (`amd64/v3` runs v2 and v1; `arm/v7` runs v6 and v5);
 * the 32-bit relative (`386` on amd64, `arm` on arm64). On Windows, `os.version` must agree when both name one, in
 * all but its last number (the revision).
 */
export function platformRank(wanted: Platform, offered: Platform): number {
  const want = normalizePlatform(wanted);
  const offer = normalizePlatform(offered);
  if (want.os !== offer.os || !osVersionFits(want['os.version'], offer['os.version'])) return Infinity;
  const rank = runnable(want.architecture, want.variant).indexOf(spell(offer.architecture, offer.variant));
  return rank === -1 ? Infinity : rank;
}

function osVersionFits(wanted: string | undefined, offered: string | undefined): boolean {
  if (!wanted || !offered) return true;
  return wanted.split('.').slice(0, 3).join('.') === offered.split('.').slice(0, 3).join('.');
}

/** What a processor runs, best first, each spelled as by {@link spell}. */
function runnable(architecture: string, variant: string | undefined): string[] {
  const own = spell(architecture, variant);
  switch (architecture) {
    case 'amd64':
      return [own, ...older(architecture, variant, 4, 1), '386/'];
    case 'arm64': {
      // every v9.N runs plain v9, and every variant plain v8, which is spelled without one
      const below = variant === undefined ? [] : [spell(architecture, undefined)];
      if (variant?.startsWith('v9.')) below.unshift(spell(architecture, 'v9'));
      return [own, ...below, ...older('arm', 'v9', 8, 5)];
    }
    case 'arm':
      return [own, ...older(architecture, variant, 8, 5)];
    default:
      return [own];
  }
}

/** The known variants, `v<newest>` to `v<oldest>`, that are older than `variant`. */
function older(architecture: string, variant: string | undefined, newest: number, oldest: number): string[] {
  const number = Number(/^v(\d+)$/.exec(variant ?? '')?.[1]);
  const spelled: string[] = [];
  for (let n = newest; n >= oldest; n--) {
    if (n < number) spelled.push(spell(architecture, normalizeVariant(architecture, `v${n}`)));
  }
  return spelled;
}

function spell(architecture: string, variant: string | undefined): string {
  return `${architecture}/${variant ?? ''}`;
}
