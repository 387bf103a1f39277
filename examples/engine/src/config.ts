/** Configuration: dockerd's flags and daemon.json, with dockerd's rules. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { invalid } from './errors.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How tcp sockets are protected. */
export type TcpSecurity =
  /** Only clients with a certificate of the CA get in. */
  | { kind: 'verified'; ca: string; cert: string; key: string }
  /** Encrypted, but open to every client. */
  | { kind: 'encrypted'; cert: string; key: string }
  /** Neither; on addresses other than loopback only when `insists`. */
  | { kind: 'plain'; insists: boolean };

/** The engine's configuration, complete. */
export interface Config {
  /** Where to listen: `unix:///path`, `tcp://address:port`, `fd://[name]` for sockets that systemd opened. */
  hosts: string[];
  /** Paths are of PEM files. */
  tcp: TcpSecurity;
  /** Directory of everything that must survive a reboot. */
  dataRoot: string;
  /** Directory of what need not: sockets, namespaces, runtime state. */
  execRoot: string;
  pidfile: string;
  /** Group of the unix sockets; they are 0660. */
  group: string;
  /** Whether `group` was asked for: a missing one is then an error. */
  groupExplicit: boolean;
  logLevel: LogLevel;
  /** Base URLs asked before Docker Hub, in this order. */
  registryMirrors: string[];
  /** Registries that may be reached by plain http or with unverified TLS: `host[:port]` or CIDR. Loopback always may. */
  insecureRegistries: string[];
  /** Layers of one pull fetched at the same time. */
  maxConcurrentDownloads: number;
  maxConcurrentUploads: number;
  /** How often a broken download is tried. */
  maxDownloadAttempts: number;
  /** Seconds that a graceful shutdown may take. */
  shutdownTimeoutS: number;
  /** Whether containers have an init process unless they say otherwise. */
  init: boolean;
  /** Free-form labels of this engine, shown by `info`. */
  labels: string[];
  /** Bytes that the build cache may take; undefined for a tenth of the file system, Infinity for no limit. */
  buildCacheBytes: number | undefined;
}

/** Where `tlscacert`, `tlscert` and `tlskey` are when nothing else is said. */
const TLS_FILES = { ca: '/etc/tare/ca.pem', cert: '/etc/tare/cert.pem', key: '/etc/tare/key.pem' };

/** The file read when `--config-file` is not given. It need not exist; a given one must. */
export const DEFAULT_CONFIG_FILE = '/etc/tare/daemon.json';

const DEFAULTS: Config = {
  hosts: ['unix:///run/tare.sock'],
  tcp: { kind: 'plain', insists: false },
  dataRoot: '/var/lib/tare',
  execRoot: '/run/tare',
  pidfile: '/run/tare.pid',
  group: 'docker',
  groupExplicit: false,
  logLevel: 'info',
  registryMirrors: [],
  insecureRegistries: [],
  maxConcurrentDownloads: 3,
  maxConcurrentUploads: 5,
  maxDownloadAttempts: 5,
  shutdownTimeoutS: 15,
  init: false,
  labels: [],
  buildCacheBytes: undefined,
};

const mirror = z
  .string()
  .refine(
    (text) => /^https?:\/\/[^/?#@]+(\/[^?#]*)?$/.test(text),
    'expected a URL like https://mirror.example.com',
  );
const host = z
  .string()
  .refine(
    (text) => /^(unix:\/\/\/.+|tcp:\/\/.+|fd:\/\/[^/]*)$/.test(text),
    'expected unix:///path, tcp://address:port or fd://',
  );

const UNITS = { k: 1000, m: 1000 ** 2, g: 1000 ** 3, t: 1000 ** 4 };
const size = z
  .string()
  .regex(/^\d+(?:\.\d+)?\s*[kmgt]?i?b?$/i, 'expected a size like 20GB')
  .transform((text) => {
    const [, number, unit = ''] = /^([\d.]+)\s*([kmgt]?)/i.exec(text)!;
    return Math.floor(Number(number) * (UNITS[unit.toLowerCase() as keyof typeof UNITS] ?? 1));
  });

/** What daemon.json may hold; flags are translated to the same shape, so both are checked alike. */
const fileSchema = z.strictObject({
  hosts: z.array(host).optional(),
  'data-root': z.string().min(1).optional(),
  'exec-root': z.string().min(1).optional(),
  pidfile: z.string().min(1).optional(),
  group: z.string().optional(),
  'log-level': z.enum(LOG_LEVELS).optional(),
  debug: z.boolean().optional(),
  tls: z.boolean().optional(),
  tlsverify: z.boolean().optional(),
  tlscacert: z.string().min(1).optional(),
  tlscert: z.string().min(1).optional(),
  tlskey: z.string().min(1).optional(),
  'registry-mirrors': z.array(mirror).optional(),
  'insecure-registries': z.array(z.string().min(1)).optional(),
  'max-concurrent-downloads': z.int().min(1).optional(),
  'max-concurrent-uploads': z.int().min(1).optional(),
  'max-download-attempts': z.int().min(1).optional(),
  'shutdown-timeout': z.int().min(0).optional(),
  init: z.boolean().optional(),
  labels: z.array(z.string().regex(/^[^=]+=.*$/, 'expected key=value')).optional(),
  builder: z
    .strictObject({
      gc: z.strictObject({ enabled: z.boolean().optional(), defaultKeepStorage: size.optional() }).optional(),
    })
    .optional(),
});
type FileConfig = z.output<typeof fileSchema>;
type FileKey = keyof FileConfig & string;

/** Flag name → key of daemon.json; lists have a singular flag and a plural key. */
const FLAGS = {
  host: { key: 'hosts', kind: 'list', short: 'H' },
  'data-root': { key: 'data-root', kind: 'text' },
  'exec-root': { key: 'exec-root', kind: 'text' },
  pidfile: { key: 'pidfile', kind: 'text', short: 'p' },
  group: { key: 'group', kind: 'text', short: 'G' },
  'log-level': { key: 'log-level', kind: 'text', short: 'l' },
  debug: { key: 'debug', kind: 'switch', short: 'D' },
  tls: { key: 'tls', kind: 'switch' },
  tlsverify: { key: 'tlsverify', kind: 'switch' },
  tlscacert: { key: 'tlscacert', kind: 'text' },
  tlscert: { key: 'tlscert', kind: 'text' },
  tlskey: { key: 'tlskey', kind: 'text' },
  'registry-mirror': { key: 'registry-mirrors', kind: 'list' },
  'insecure-registry': { key: 'insecure-registries', kind: 'list' },
  'max-concurrent-downloads': { key: 'max-concurrent-downloads', kind: 'number' },
  'max-concurrent-uploads': { key: 'max-concurrent-uploads', kind: 'number' },
  'max-download-attempts': { key: 'max-download-attempts', kind: 'number' },
  'shutdown-timeout': { key: 'shutdown-timeout', kind: 'number' },
  init: { key: 'init', kind: 'switch' },
  label: { key: 'labels', kind: 'list' },
} as const satisfies Record<
  string,
  { key: FileKey; kind: 'list' | 'text' | 'switch' | 'number'; short?: string }
>;

/** What the command line asks for. */
export interface DaemonArguments {
  config: Config;
  /** `--validate`: check the configuration and leave. */
  validate: boolean;
}

/** Lines for `tare daemon --help`. */
export const DAEMON_USAGE = `Usage: tare daemon [OPTIONS]

Serve the Docker Engine API.

Options:
      --config-file string            Configuration file (default "${DEFAULT_CONFIG_FILE}")
      --data-root string              Root directory of persistent state (default "${DEFAULTS.dataRoot}")
  -D, --debug                         Same as --log-level=debug
      --exec-root string              Root directory of execution state (default "${DEFAULTS.execRoot}")
  -G, --group string                  Group of the unix socket (default "${DEFAULTS.group}")
  -H, --host list                     Where to listen: unix:///path, tcp://address:port, or fd:// for what systemd
                                      has opened (default ${DEFAULTS.hosts[0]})
      --init                          Run an init in every container that does not say otherwise
      --insecure-registry list        Registry that may be reached without verified TLS
      --label list                    Label of this engine: key=value
  -l, --log-level string              ${LOG_LEVELS.join(', ')} (default "${DEFAULTS.logLevel}")
      --max-concurrent-downloads int  Layers of one pull fetched at once (default ${DEFAULTS.maxConcurrentDownloads})
      --max-concurrent-uploads int    Layers of all pushes sent at once (default ${DEFAULTS.maxConcurrentUploads})
      --max-download-attempts int     Attempts at one download (default ${DEFAULTS.maxDownloadAttempts})
  -p, --pidfile string                PID file (default "${DEFAULTS.pidfile}")
      --registry-mirror list          Mirror of Docker Hub, asked first
      --shutdown-timeout int          Seconds a graceful shutdown may take (default ${DEFAULTS.shutdownTimeoutS})
      --tls                           Encrypt tcp sockets; --tls=false: serve them in the clear, to everybody
      --tlscacert string              CA that clients' certificates must come from (default "${TLS_FILES.ca}")
      --tlscert string                Certificate of this engine (default "${TLS_FILES.cert}")
      --tlskey string                 Its key (default "${TLS_FILES.key}")
      --tlsverify                     Encrypt tcp sockets and let in only clients with a certificate of the CA
      --validate                      Check the configuration and leave
`;

/**
 * Reads flags and configuration file.
 *
 * @param argv - the arguments after `daemon`
 * @throws {EngineError} `INVALID`, in dockerd's words where it has some
 */
export function loadConfig(argv: readonly string[]): DaemonArguments {
  const { values } = parseFlags(argv);
  const fromFlags: Record<string, unknown> = {};
  for (const [flag, { key, kind }] of Object.entries(FLAGS)) {
    const value = values[flag];
    if (value === undefined) continue;
    fromFlags[key] = kind === 'number' ? Number(value) : value;
  }
  const flags = check(fromFlags, 'invalid flag');

  const explicitFile = values['config-file'] as string | undefined;
  const path = explicitFile ?? DEFAULT_CONFIG_FILE;
  const file = readConfigFile(path, explicitFile !== undefined);
  const both = Object.keys(file).filter((key) => Object.hasOwn(fromFlags, key));
  if (both.length > 0) {
    const list = both.map(
      (key) => `${key}: (from flag: ${show(fromFlags[key])}, from file: ${show(file[key as FileKey])})`,
    );
    throw fileError(
      path,
      `the following directives are specified both as a flag and in the configuration file: ${list.join(', ')}`,
    );
  }
  return { config: toConfig({ ...file, ...flags }), validate: values['validate'] === true };
}

function parseFlags(argv: readonly string[]): { values: Record<string, unknown> } {
  const options: Record<string, { type: 'string' | 'boolean'; short?: string; multiple?: boolean }> = {
    'config-file': { type: 'string' },
    validate: { type: 'boolean' },
  };
  for (const [flag, spec] of Object.entries(FLAGS)) {
    options[flag] = {
      type: spec.kind === 'switch' ? 'boolean' : 'string',
      ...('short' in spec ? { short: spec.short } : {}),
      ...(spec.kind === 'list' ? { multiple: true } : {}),
    };
  }
  const negated: Record<string, boolean> = {};
  const args = argv.flatMap((arg) => {
    const [, name, value] = /^--(.+?)=(true|false)$/.exec(arg) ?? [];
    if (name === undefined || options[name]?.type !== 'boolean') return [arg];
    negated[name] = value === 'true';
    return [];
  });
  try {
    const { values } = parseArgs({ args, options, strict: true, allowPositionals: false });
    return { values: { ...values, ...negated } };
  } catch (error) {
    throw invalid(`${(error as Error).message}\nSee 'tare daemon --help'.`, { cause: error });
  }
}

function fileError(path: string, message: string, cause?: unknown): Error {
  return invalid(`unable to configure the engine with file ${path}: ${message}`, { cause });
}

function readConfigFile(path: string, required: boolean): FileConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' && !required) return {};
    throw fileError(path, (error as Error).message, error);
  }
  if (text.startsWith('\uFEFF')) throw fileError(path, 'it starts with a byte order mark; save it without');
  if (text.trim() === '') return {};
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw fileError(path, (error as Error).message, error);
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw fileError(path, 'expected a JSON object');
  }
  const unknown = Object.keys(raw).filter((key) => !Object.hasOwn(fileSchema.shape, key));
  if (unknown.length > 0) {
    throw fileError(
      path,
      `the following directives don't match any configuration option: ${unknown.join(', ')}`,
    );
  }
  return check(raw, `unable to configure the engine with file ${path}`);
}

function check(raw: object, what: string): FileConfig {
  const result = fileSchema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw invalid(`${what}: ${issue.path.map(String).join('.')}: ${issue.message}`, { cause: result.error });
}

function show(value: unknown): string {
  return Array.isArray(value) ? `[${value.join(' ')}]` : String(value);
}

/** dockerd's rules: `tlsverify` includes `tls`, and an explicit `false` is a wish to be served in the clear. */
function tcpSecurity(given: FileConfig): TcpSecurity {
  const { ca, cert, key } = {
    ca: given.tlscacert ?? TLS_FILES.ca,
    cert: given.tlscert ?? TLS_FILES.cert,
    key: given.tlskey ?? TLS_FILES.key,
  };
  if (given.tlsverify === true) return { kind: 'verified', ca, cert, key };
  if (given.tls === true) return { kind: 'encrypted', cert, key };
  return { kind: 'plain', insists: given.tls === false || given.tlsverify === false };
}

function toConfig(given: FileConfig): Config {
  return {
    hosts: given.hosts !== undefined && given.hosts.length > 0 ? given.hosts : DEFAULTS.hosts,
    tcp: tcpSecurity(given),
    dataRoot: given['data-root'] ?? DEFAULTS.dataRoot,
    execRoot: given['exec-root'] ?? DEFAULTS.execRoot,
    pidfile: given.pidfile ?? DEFAULTS.pidfile,
    group: given.group ?? DEFAULTS.group,
    groupExplicit: given.group !== undefined,
    logLevel: given.debug === true ? 'debug' : (given['log-level'] ?? DEFAULTS.logLevel),
    registryMirrors: given['registry-mirrors'] ?? DEFAULTS.registryMirrors,
    insecureRegistries: given['insecure-registries'] ?? DEFAULTS.insecureRegistries,
    maxConcurrentDownloads: given['max-concurrent-downloads'] ?? DEFAULTS.maxConcurrentDownloads,
    maxConcurrentUploads: given['max-concurrent-uploads'] ?? DEFAULTS.maxConcurrentUploads,
    maxDownloadAttempts: given['max-download-attempts'] ?? DEFAULTS.maxDownloadAttempts,
    shutdownTimeoutS: given['shutdown-timeout'] ?? DEFAULTS.shutdownTimeoutS,
    init: given.init ?? DEFAULTS.init,
    labels: given.labels ?? DEFAULTS.labels,
    buildCacheBytes:
      given.builder?.gc?.enabled === false ? Number.POSITIVE_INFINITY : given.builder?.gc?.defaultKeepStorage,
  };
}
