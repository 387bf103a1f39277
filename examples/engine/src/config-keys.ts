/** What the daemon can be told: the keys of daemon.json, the flags, and the defaults. */
import { z } from 'zod';
import type { IdMaps } from './containers/user-namespaces.ts';
import { LOG_DRIVERS } from './logs/drivers.ts';

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

/** What containers get that do not say otherwise. */
export interface ContainerDefaults {
  logDriver: string;
  /** Of containers that name no driver of their own. */
  logOptions: Record<string, string>;
  ulimits: { Name: string; Soft: number; Hard: number }[];
  shmBytes: number;
  /** Empty for what the client's version of the API has. */
  ipcMode: string;
  cgroupNamespace: string;
  noNewPrivileges: boolean;
  /** A profile's text; `builtin`, `unconfined`. */
  seccompProfile: string;
  /** Cgroup that containers go below; empty for the engine's own. */
  cgroupParent: string;
  dns: string[];
  dnsOptions: string[];
  dnsSearch: string[];
  /** Addresses that `host-gateway` means; empty for the container's gateway. */
  hostGateways: string[];
}

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
  /** Base URLs asked before other registries, by the registry's `host[:port]`. */
  mirrors: Record<string, string[]>;
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
  /** What containers get that do not say otherwise. */
  containerDefaults: ContainerDefaults;
  /** Whose ids the root of containers has; undefined for those of the host. */
  usernsRemap: IdMaps | undefined;
  /** Where metrics are served to Prometheus: `address:port`; undefined for the API's own addresses alone. */
  metricsAddress: string | undefined;
  /** Bytes that the build cache may take; undefined for a tenth of the file system, Infinity for no limit. */
  buildCacheBytes: number | undefined;
}

/** Where `tlscacert`, `tlscert` and `tlskey` are when nothing else is said. */
export const TLS_FILES = { ca: '/etc/tare/ca.pem', cert: '/etc/tare/cert.pem', key: '/etc/tare/key.pem' };

/** The file read when `--config-file` is not given. It need not exist; a given one must. */
export const DEFAULT_CONFIG_FILE = '/etc/tare/daemon.json';

export const DEFAULTS: Config = {
  hosts: ['unix:///run/tare.sock'],
  tcp: { kind: 'plain', insists: false },
  dataRoot: '/var/lib/tare',
  execRoot: '/run/tare',
  pidfile: '/run/tare.pid',
  group: 'docker',
  groupExplicit: false,
  logLevel: 'info',
  registryMirrors: [],
  mirrors: {},
  insecureRegistries: [],
  maxConcurrentDownloads: 3,
  maxConcurrentUploads: 5,
  maxDownloadAttempts: 5,
  shutdownTimeoutS: 15,
  init: false,
  labels: [],
  containerDefaults: {
    logDriver: 'json-file',
    logOptions: {},
    ulimits: [],
    shmBytes: 64 * 1024 * 1024,
    ipcMode: '',
    cgroupNamespace: '',
    noNewPrivileges: false,
    seccompProfile: 'builtin',
    cgroupParent: '',
    dns: [],
    dnsOptions: [],
    dnsSearch: [],
    hostGateways: [],
  },
  usernsRemap: undefined,
  metricsAddress: undefined,
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
export const fileSchema = z.strictObject({
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
  mirrors: z.record(z.string().min(1), z.array(mirror)).optional(),
  'insecure-registries': z.array(z.string().min(1)).optional(),
  'max-concurrent-downloads': z.int().min(1).optional(),
  'max-concurrent-uploads': z.int().min(1).optional(),
  'max-download-attempts': z.int().min(1).optional(),
  'shutdown-timeout': z.int().min(0).optional(),
  init: z.boolean().optional(),
  labels: z.array(z.string().regex(/^[^=]+=.*$/, 'expected key=value')).optional(),
  'log-driver': z.enum(LOG_DRIVERS).optional(),
  'log-opts': z.record(z.string(), z.string()).optional(),
  'default-ulimits': z
    .record(
      z.string(),
      z.object({ Name: z.string().optional(), Soft: z.int().optional(), Hard: z.int().optional() }),
    )
    .optional(),
  'default-shm-size': z.union([z.int().min(1), size]).optional(),
  'default-ipc-mode': z.enum(['private', 'shareable']).optional(),
  'default-cgroupns-mode': z.enum(['private', 'host']).optional(),
  'no-new-privileges': z.boolean().optional(),
  'seccomp-profile': z.string().optional(),
  'cgroup-parent': z.string().optional(),
  dns: z.array(z.string()).optional(),
  'dns-opts': z.array(z.string()).optional(),
  'dns-search': z.array(z.string()).optional(),
  'host-gateway-ips': z.array(z.string()).max(2).optional(),
  'host-gateway-ip': z.string().optional(),
  'userns-remap': z.string().optional(),
  'metrics-addr': z
    .string()
    .regex(/^.+:\d{1,5}$/, 'expected address:port')
    .optional(),
  // containers always outlive the engine
  'live-restore': z.literal(true, 'it cannot be turned off: containers always outlive the engine').optional(),
  // what there is one of
  'storage-driver': z.enum(['overlay2', 'overlayfs']).optional(),
  'exec-opts': z
    .array(
      z.literal(
        'native.cgroupdriver=cgroupfs',
        'the cgroup driver is cgroupfs, and there are no other options',
      ),
    )
    .optional(),
  // features of dockerd's that this engine has or has not, whatever is said here
  features: z.record(z.string(), z.boolean()).optional(),
  builder: z
    .strictObject({
      gc: z.strictObject({ enabled: z.boolean().optional(), defaultKeepStorage: size.optional() }).optional(),
    })
    .optional(),
});
export type FileConfig = z.output<typeof fileSchema>;
export type FileKey = keyof FileConfig & string;

/** Flag name → key of daemon.json; lists have a singular flag and a plural key. */
export const FLAGS = {
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
  'log-driver': { key: 'log-driver', kind: 'text' },
  'log-opt': { key: 'log-opts', kind: 'map' },
  'default-shm-size': { key: 'default-shm-size', kind: 'text' },
  'default-ipc-mode': { key: 'default-ipc-mode', kind: 'text' },
  'default-cgroupns-mode': { key: 'default-cgroupns-mode', kind: 'text' },
  'no-new-privileges': { key: 'no-new-privileges', kind: 'switch' },
  'seccomp-profile': { key: 'seccomp-profile', kind: 'text' },
  'cgroup-parent': { key: 'cgroup-parent', kind: 'text' },
  dns: { key: 'dns', kind: 'list' },
  'dns-opt': { key: 'dns-opts', kind: 'list' },
  'dns-search': { key: 'dns-search', kind: 'list' },
  'host-gateway-ip': { key: 'host-gateway-ips', kind: 'list' },
  'userns-remap': { key: 'userns-remap', kind: 'text' },
  'metrics-addr': { key: 'metrics-addr', kind: 'text' },
  'live-restore': { key: 'live-restore', kind: 'switch' },
  'storage-driver': { key: 'storage-driver', kind: 'text', short: 's' },
  'exec-opt': { key: 'exec-opts', kind: 'list' },
  label: { key: 'labels', kind: 'list' },
} as const satisfies Record<
  string,
  { key: FileKey; kind: 'list' | 'text' | 'switch' | 'number' | 'map'; short?: string }
>;

/** Lines for `tare daemon --help`. */
export const DAEMON_USAGE = `Usage: tare daemon [OPTIONS]

Serve the Docker Engine API.

Options:
      --config-file string            Configuration file (default "${DEFAULT_CONFIG_FILE}")
      --data-root string              Root directory of persistent state (default "${DEFAULTS.dataRoot}")
  -D, --debug                         Same as --log-level=debug
      --exec-root string              Root directory of execution state (default "${DEFAULTS.execRoot}")
  -G, --group string                  Group of the unix socket (default "${DEFAULTS.group}")
  -H, --host list                     Where to listen: unix:///path, tcp://address:port, fd:// (default ${DEFAULTS.hosts[0]})
      --init                          Run an init in every container that does not say otherwise
      --insecure-registry list        Registry that may be reached without verified TLS
      --label list                    Label of this engine: key=value
      --log-driver string             Log driver of containers (default "json-file")
  -l, --log-level string              ${LOG_LEVELS.join(', ')} (default "${DEFAULTS.logLevel}")
      --log-opt map                   Options of the default log driver: key=value
      --max-concurrent-downloads int  Layers of one pull fetched at once (default ${DEFAULTS.maxConcurrentDownloads})
      --max-concurrent-uploads int    Layers of all pushes sent at once (default ${DEFAULTS.maxConcurrentUploads})
      --max-download-attempts int     Attempts at one download (default ${DEFAULTS.maxDownloadAttempts})
      --metrics-addr string           Where Prometheus finds /metrics: address:port
      --no-new-privileges             Containers' processes gain no privileges
  -p, --pidfile string                PID file (default "${DEFAULTS.pidfile}")
      --registry-mirror list          Mirror of Docker Hub, asked first
      --seccomp-profile string        Profile of containers: a file, builtin or unconfined (default "builtin")
      --shutdown-timeout int          Seconds a graceful shutdown may take (default ${DEFAULTS.shutdownTimeoutS})
      --tls                           Encrypt tcp sockets; --tls=false: serve them in the clear, to everybody
      --tlscacert string              CA that clients' certificates must come from (default "${TLS_FILES.ca}")
      --tlscert string                Certificate of this engine (default "${TLS_FILES.cert}")
      --tlskey string                 Its key (default "${TLS_FILES.key}")
      --tlsverify                     Encrypt tcp sockets and let in only clients with a certificate of the CA
      --userns-remap string           Ids of containers: default, user[:group], or first inside:first outside:how many
      --validate                      Check the configuration and leave
`;
