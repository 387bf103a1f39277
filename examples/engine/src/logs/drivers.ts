/**
 * Log drivers: which there are, what options each takes, and the file that a container's monitor writes in any case.
 *
 * The monitor always writes Docker's json-file format. `local` is the same file under other limits; a driver that sends
 * logs elsewhere reads that file and sends on (`logs/forwarders.ts`), so the container never waits for it and `docker
 * logs` works with every driver but `none`.
 */
import { join } from 'node:path';
import { invalid } from '../errors.ts';

/** The drivers. */
export const LOG_DRIVERS = ['json-file', 'local', 'none', 'syslog', 'journald'] as const;
/** One of {@link LOG_DRIVERS}. */
export type LogDriver = (typeof LOG_DRIVERS)[number];

const FILE_OPTIONS = ['max-size', 'max-file', 'compress'];
const ATTRIBUTE_OPTIONS = ['labels', 'labels-regex', 'env', 'env-regex', 'tag'];
/** How the file is kept that a forwarding driver's logs can be read from. */
const CACHE_OPTIONS = ['cache-disabled', 'cache-max-size', 'cache-max-file', 'cache-compress'];
/** Every driver takes these: with ours the container never waits for its log. */
const COMMON_OPTIONS = ['mode', 'max-buffer-size'];

const OPTIONS: Readonly<Record<LogDriver, readonly string[]>> = {
  'json-file': [...FILE_OPTIONS, ...ATTRIBUTE_OPTIONS],
  local: [...FILE_OPTIONS, ...ATTRIBUTE_OPTIONS],
  none: [],
  syslog: [
    'syslog-address',
    'syslog-facility',
    'syslog-format',
    'syslog-tls-ca-cert',
    'syslog-tls-cert',
    'syslog-tls-key',
    'syslog-tls-skip-verify',
    ...ATTRIBUTE_OPTIONS,
    ...CACHE_OPTIONS,
  ],
  journald: [...ATTRIBUTE_OPTIONS, ...CACHE_OPTIONS],
};

export function isLogDriver(name: string): name is LogDriver {
  return (LOG_DRIVERS as readonly string[]).includes(name);
}

/** Checks a driver and its options. @throws {EngineError} `INVALID` in dockerd's words */
export function checkLogOptions(driver: string, options: Readonly<Record<string, string>>): void {
  if (!isLogDriver(driver)) {
    throw invalid(`logger: no log driver named '${driver}' is registered`);
  }
  const unknown = Object.keys(options).find(
    (key) => !OPTIONS[driver].includes(key) && !COMMON_OPTIONS.includes(key),
  );
  if (unknown !== undefined && driver !== 'none') {
    throw invalid(`unknown log opt '${unknown}' for ${driver} log driver`);
  }
  const { mode } = options;
  if (mode !== undefined && mode !== '' && mode !== 'blocking' && mode !== 'non-blocking') {
    throw invalid(`logger: logging mode not supported: ${mode}`);
  }
  const limits = { 'max-size': options['max-size'], 'cache-max-size': options['cache-max-size'] };
  for (const [key, text] of Object.entries(limits)) {
    if (text !== undefined && text !== '-1' && !(parseLogSize(text) > 0)) {
      throw invalid(`invalid value for ${key}: "${text}": it must be a positive size, such as 10m`);
    }
  }
  const maxFiles = options['max-file'] ?? options['cache-max-file'];
  if (maxFiles !== undefined && !(Number.parseInt(maxFiles, 10) >= 1)) {
    throw invalid('max-file cannot be less than 1');
  }
  const compress = boolean(options, 'compress');
  boolean(options, 'cache-compress');
  if (compress && driver === 'json-file') {
    const { maxSizeBytes, maxFiles: files } = limited('', options);
    if (maxSizeBytes === 0 || files < 2) {
      throw invalid('compress cannot be true when max-file is less than 2 or max-size is not set');
    }
  }
  for (const key of ['labels-regex', 'env-regex']) {
    try {
      matcher(options[key]);
    } catch (error) {
      throw invalid(`invalid value for ${key}: ${(error as Error).message}`, { cause: error });
    }
  }
}

/** A switch as Go reads it; undefined when it is not given. @throws {EngineError} `INVALID` */
function boolean(options: Readonly<Record<string, string>>, key: string): boolean | undefined {
  const text = options[key];
  if (text === undefined) return undefined;
  if (/^(?:1|t|true)$/i.test(text)) return true;
  if (/^(?:0|f|false)$/i.test(text)) return false;
  throw invalid(`invalid value for ${key}: "${text}": it must be true or false`);
}

const UNITS: Record<string, number> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 };

/** Bytes of a size such as `10m`; NaN for what is none. */
function parseLogSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?$/i.exec(text.trim());
  return match ? Math.floor(Number(match[1]) * UNITS[match[2]!.toLowerCase()]!) : Number.NaN;
}

/** `LogConfig` as a container has it. */
export interface LogConfig {
  Type?: string | undefined;
  Config?: Readonly<Record<string, string>> | undefined;
}

/** The file the monitor writes. */
export interface ContainerLog {
  path: string;
  /** 0 for no limit. */
  maxSizeBytes: number;
  /** With the current one. */
  maxFiles: number;
  /** Old files are compressed. */
  compress: boolean;
}

/** What a container may keep that says nothing: enough to look back, and no disk that fills up. */
const JSON_FILE_LIMITS = { 'max-size': '100m', 'max-file': '5', compress: 'false' };
/** Docker's own, of `local` and of what it keeps for drivers that cannot be read. */
const LOCAL_LIMITS = { 'max-size': '20m', 'max-file': '5', compress: 'true' };

/**
 * Where a container's log is and how much of it is kept; undefined when there is none.
 *
 * @param directory - of the container
 */
export function containerLog(
  config: LogConfig | undefined,
  directory: string,
  id: string,
): ContainerLog | undefined {
  const driver = config?.Type || 'json-file';
  const options = config?.Config ?? {};
  if (driver === 'none') return undefined;
  if (driver === 'json-file') {
    // a client that sets one limit means what dockerd makes of the other
    const own = options['max-size'] === undefined && options['max-file'] === undefined;
    return limited(join(directory, `${id}-json.log`), own ? JSON_FILE_LIMITS : options);
  }
  const size = options['max-size'] ?? options['cache-max-size'] ?? LOCAL_LIMITS['max-size'];
  const files = options['max-file'] ?? options['cache-max-file'] ?? LOCAL_LIMITS['max-file'];
  const compress = options['compress'] ?? options['cache-compress'] ?? LOCAL_LIMITS.compress;
  const limits = { 'max-size': size, 'max-file': files, compress };
  return limited(join(directory, 'local-logs', 'container.log'), limits);
}

function limited(path: string, options: Readonly<Record<string, string>>): ContainerLog {
  const size = parseLogSize(options['max-size'] ?? '');
  const files = Number.parseInt(options['max-file'] ?? '', 10);
  return {
    path,
    maxSizeBytes: size > 0 ? size : 0,
    maxFiles: files > 0 ? files : 1,
    compress: boolean(options, 'compress') ?? false,
  };
}

/** What a container's entries are marked with: the labels and variables that its log options name. */
export function logAttributes(
  options: Readonly<Record<string, string>>,
  of: { labels: Readonly<Record<string, string>>; env: readonly string[] },
): Record<string, string> {
  const variables = Object.fromEntries(
    of.env.flatMap((entry) => {
      const at = entry.indexOf('=');
      return at > 0 ? [[entry.slice(0, at), entry.slice(at + 1)]] : [];
    }),
  );
  return {
    ...chosen(of.labels, options['labels'], options['labels-regex']),
    ...chosen(variables, options['env'], options['env-regex']),
  };
}

/** @throws {SyntaxError} for a pattern that is none */
function matcher(pattern: string | undefined): RegExp | undefined {
  return pattern ? new RegExp(pattern) : undefined;
}

function chosen(
  all: Readonly<Record<string, string>>,
  names: string | undefined,
  pattern: string | undefined,
): Record<string, string> {
  const wanted = new Set((names ?? '').split(','));
  const matches = matcher(pattern);
  return Object.fromEntries(Object.entries(all).filter(([key]) => wanted.has(key) || matches?.test(key)));
}

/** Attributes as `docker logs --details` shows them: sorted, encoded, with commas. */
export function attributesText(attributes: Readonly<Record<string, string>>): string {
  return Object.entries(attributes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${encode(key)}=${encode(value)}`)
    .join(',');
}

/** As Go's url.QueryEscape: a space is a plus. */
function encode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.codePointAt(0)!.toString(16).toUpperCase()}`)
    .replaceAll('%20', '+');
}
