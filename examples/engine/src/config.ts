/** Reading the configuration: dockerd's flags and daemon.json, with dockerd's rules. */
import { resolve } from 'node:path';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  DEFAULT_CONFIG_FILE,
  DEFAULTS,
  fileSchema,
  FLAGS,
  TLS_FILES,
  type Config,
  type ContainerDefaults,
  type FileConfig,
  type FileKey,
  type TcpSecurity,
} from './config-keys.ts';
import { invalid } from './errors.ts';
import { remapOf } from './containers/user-namespaces.ts';
import { checkLogOptions } from './logs/drivers.ts';
import { suggestion } from './suggest.ts';

/** Keys of dockerd's that mean something which is not here, or not to be chosen. */
const DOCKERD_ONLY: ReadonlySet<string> = new Set(
  (
    'allow-direct-routing authorization-plugins bip bip6 bridge bridge-accept-fwmark containerd ' +
    'containerd-namespace containerd-plugin-namespace cpu-rt-period cpu-rt-runtime default-address-pools ' +
    'default-gateway default-gateway-v6 default-network-opts default-runtime experimental fixed-cidr ' +
    'fixed-cidr-v6 firewall-backend http-proxy https-proxy icc init-path ip ip-forward ip-forward-no-drop ip-masq ' +
    'ip6tables iptables ipv6 log-format min-api-version mtu no-proxy node-generic-resources oom-score-adjust proxies ' +
    'raw-logs runtimes selinux-enabled storage-opts swarm-default-advertise-addr userland-proxy userland-proxy-path'
  ).split(' '),
);

/** What the command line asks for. */
export interface DaemonArguments {
  config: Config;
  /** `--validate`: check the configuration and leave. */
  validate: boolean;
}

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
    if (kind === 'number') fromFlags[key] = Number(value);
    else if (kind === 'map') fromFlags[key] = keyValues(flag, value as string[]);
    else fromFlags[key] = value;
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
      ...(spec.kind === 'list' || spec.kind === 'map' ? { multiple: true } : {}),
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

/** `--log-opt key=value`, as often as one likes. */
function keyValues(flag: string, values: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    values.map((text) => {
      const at = text.indexOf('=');
      if (at <= 0) throw invalid(`invalid argument "${text}" for --${flag}: expected key=value`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
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
      `the following directives don't match any configuration option: ${unknown.map(withAdvice).join(', ')}`,
    );
  }
  return check(raw, `unable to configure the engine with file ${path}`);
}

function withAdvice(key: string): string {
  if (DOCKERD_ONLY.has(key)) return `${key} (dockerd has it, Tare does not: take it out)`;
  const meant = suggestion(key, Object.keys(fileSchema.shape));
  return meant === undefined ? key : `${key} (did you mean ${meant}?)`;
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

function containerDefaults(given: FileConfig): ContainerDefaults {
  const { containerDefaults: own } = DEFAULTS;
  const gateway = given['host-gateway-ip'];
  return {
    logDriver: given['log-driver'] ?? own.logDriver,
    logOptions: given['log-opts'] ?? own.logOptions,
    ulimits: Object.entries(given['default-ulimits'] ?? {}).map(
      ([name, { Soft: soft = 0, Hard: hard = 0 }]) => ({
        Name: name,
        Soft: soft,
        Hard: hard,
      }),
    ),
    shmBytes: given['default-shm-size'] ?? own.shmBytes,
    ipcMode: given['default-ipc-mode'] ?? own.ipcMode,
    cgroupNamespace: given['default-cgroupns-mode'] ?? own.cgroupNamespace,
    noNewPrivileges: given['no-new-privileges'] ?? own.noNewPrivileges,
    seccompProfile: seccompProfile(given['seccomp-profile']) ?? own.seccompProfile,
    cgroupParent: given['cgroup-parent'] ?? own.cgroupParent,
    dns: given.dns ?? own.dns,
    dnsOptions: given['dns-opts'] ?? own.dnsOptions,
    dnsSearch: given['dns-search'] ?? own.dnsSearch,
    hostGateways: given['host-gateway-ips'] ?? (gateway === undefined ? own.hostGateways : [gateway]),
  };
}

/** The text of a profile of its own, read once. */
function seccompProfile(given: string | undefined): string | undefined {
  if (given === undefined || given === '') return undefined;
  if (given === 'builtin' || given === 'unconfined') return given;
  try {
    return readFileSync(given, 'utf8');
  } catch (error) {
    throw invalid(`cannot read the seccomp profile ${given}: ${(error as Error).message}`, { cause: error });
  }
}

function toConfig(given: FileConfig): Config {
  checkLogOptions(given['log-driver'] ?? DEFAULTS.containerDefaults.logDriver, given['log-opts'] ?? {});
  return {
    hosts: given.hosts !== undefined && given.hosts.length > 0 ? given.hosts : DEFAULTS.hosts,
    tcp: tcpSecurity(given),
    // containers' helpers have other working directories
    dataRoot: resolve(given['data-root'] ?? DEFAULTS.dataRoot),
    execRoot: resolve(given['exec-root'] ?? DEFAULTS.execRoot),
    pidfile: resolve(given.pidfile ?? DEFAULTS.pidfile),
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
    mirrors: given.mirrors ?? DEFAULTS.mirrors,
    containerDefaults: containerDefaults(given),
    usernsRemap: given['userns-remap'] ? remapOf(given['userns-remap']) : undefined,
    metricsAddress: given['metrics-addr'],
    buildCacheBytes:
      given.builder?.gc?.enabled === false ? Number.POSITIVE_INFINITY : given.builder?.gc?.defaultKeepStorage,
  };
}
