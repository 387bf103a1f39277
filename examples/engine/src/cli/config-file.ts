/** `~/.docker/config.json`: credentials and defaults, shared with the docker CLI. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CliError, messageOf, openError } from './errors.ts';
import { splitCsv } from './values/csv.ts';
import type { Environment } from './values/key-value.ts';

/** Credentials of one registry, as `X-Registry-Auth` carries them. */
export interface Credentials {
  username?: string;
  password?: string;
  auth?: string;
  serveraddress?: string;
  identitytoken?: string;
}

/** The key Docker Hub's credentials are kept under. */
export const hubKey = 'https://index.docker.io/v1/';

interface StoredAuth {
  auth?: string;
  identitytoken?: string;
}

interface ConfigJson {
  auths?: Record<string, StoredAuth>;
  credsStore?: string;
  credHelpers?: Record<string, string>;
  HttpHeaders?: Record<string, string>;
  detachKeys?: string;
  psFormat?: string;
  imagesFormat?: string;
  networksFormat?: string;
  volumesFormat?: string;
  statsFormat?: string;
  pluginsFormat?: string;
  currentContext?: string;
  aliases?: Record<string, string>;
  cliPluginsExtraDirs?: string[];
  proxies?: Record<string, ProxySettings>;
}

/** `proxies` of one daemon, or of `default`. */
interface ProxySettings {
  httpProxy?: string;
  httpsProxy?: string;
  ftpProxy?: string;
  noProxy?: string;
  allProxy?: string;
}

/** The configuration in use. */
export interface ConfigFile {
  /** Where it is (or would be) kept. */
  readonly path: string;
  /** The folder it is in. */
  readonly folder: string;
  readonly httpHeaders: Record<string, string> | undefined;
  readonly detachKeys: string | undefined;
  /** Name of the context that `context use` chose. */
  readonly currentContext: string | undefined;
  /** Commands that a plugin does instead of us: `{ builder: 'buildx' }`. */
  readonly aliases: Readonly<Record<string, string>>;
  /** Folders with plugins besides the usual ones. */
  readonly pluginFolders: readonly string[];
  /** Variables that tell programs in containers of the daemon at `host` about the proxy, both ways of spelling. */
  proxyVariables(host: string): Record<string, string>;
  /** Chooses a context for the commands to come; undefined for none. */
  setCurrentContext(name: string | undefined): void;
  /** The default `--format` of `ps`, `images`, … */
  format(command: 'ps' | 'images' | 'networks' | 'volumes' | 'stats' | 'plugins'): string | undefined;
  /** Credentials for a registry host such as `docker.io` or `localhost:5000`; undefined when there are none. */
  credentials(registry: string): Promise<Credentials | undefined>;
  /** Every credential there is, by the key it is kept under: what a build may need is known only when it is met. */
  allCredentials(): Promise<Record<string, Credentials>>;
  /** Remembers credentials. */
  store(registry: string, credentials: Required<Pick<Credentials, 'username' | 'password'>>): Promise<void>;
  /** Forgets them, if there are any. */
  erase(registry: string): Promise<void>;
}

/** `docker.io` is kept under a URL from Docker's first days; every other registry under its host. */
export function authKey(registry: string): string {
  return registry === 'docker.io' || registry === 'index.docker.io' ? hubKey : registry;
}

/**
 * Reads the configuration; a missing file is an empty one. So is one that cannot be read, such as that of another user
 * whose HOME is still set, but it is not written over.
 *
 * @param directory where `config.json` lies; default `~/.docker`
 * @param warn told why the file could not be read
 * @throws {CliError} when what the environment has in the file's place makes no sense
 */
export function loadConfig(
  directory: string | undefined,
  environment: Environment,
  warn: (text: string) => void,
): ConfigFile {
  const folder = directory || join(environment['HOME'] || homedir(), '.docker');
  const path = join(folder, 'config.json');
  const { json, problem } = readConfig(path);
  if (problem !== undefined) warn(`WARNING: Error ${problem}`);
  // credentials for one job, as CI systems hand them over; they come first and are never written
  const passing = environment['DOCKER_AUTH_CONFIG'] ? passingAuths(environment['DOCKER_AUTH_CONFIG']) : {};

  const helperFor = (key: string): string | undefined => json.credHelpers?.[key] ?? json.credsStore;

  const save = (): void => {
    if (problem !== undefined) {
      throw new CliError(`${path} is left as it is, and nothing was saved: error ${problem}`);
    }
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const temporary = `${path}.${process.pid}.tmp`;
    writeFileSync(temporary, `${JSON.stringify(json, null, '\t')}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  };

  const credentials = async (registry: string): Promise<Credentials | undefined> => {
    const key = authKey(registry);
    if (passing[key]) return decode(passing[key], key);
    const helper = helperFor(key);
    if (helper) return fromHelper(helper, key, environment);
    const stored =
      json.auths?.[key] ?? json.auths?.[`https://${registry}`] ?? json.auths?.[`https://${registry}/v1/`];
    return stored && decode(stored, key);
  };

  return {
    path,
    folder,
    httpHeaders: customHeaders(environment) ?? json.HttpHeaders,
    detachKeys: json.detachKeys,
    get currentContext() {
      return json.currentContext;
    },
    aliases: json.aliases ?? {},
    pluginFolders: json.cliPluginsExtraDirs ?? [],
    proxyVariables: (host) => proxyVariables(json.proxies?.[host] ?? json.proxies?.['default'] ?? {}),
    setCurrentContext(name) {
      if (json.currentContext === name) return;
      if (name === undefined) delete json.currentContext;
      else json.currentContext = name;
      save();
    },
    format: (command) => json[`${command}Format`],
    credentials,
    async allCredentials() {
      const keys = new Set(
        [json.auths, json.credHelpers, passing].flatMap((known) => Object.keys(known ?? {})),
      );
      const all: Record<string, Credentials> = {};
      for (const key of keys) {
        const registry = key === hubKey ? 'docker.io' : key.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
        const found = await credentials(registry);
        if (found) all[key] = found;
      }
      return all;
    },
    async store(registry, { username, password }) {
      const key = authKey(registry);
      const helper = helperFor(key);
      json.auths ??= {};
      if (helper) {
        await runHelper(
          helper,
          'store',
          JSON.stringify({ ServerURL: key, Username: username, Secret: password }),
          environment,
        );
        json.auths[key] = {};
      } else json.auths[key] = { auth: Buffer.from(`${username}:${password}`).toString('base64') };
      save();
    },
    async erase(registry) {
      const key = authKey(registry);
      const helper = helperFor(key);
      if (helper) await runHelper(helper, 'erase', key, environment);
      if (json.auths?.[key] === undefined) return;
      delete json.auths[key];
      save();
    },
  };
}

function proxyVariables(proxies: ProxySettings): Record<string, string> {
  const values = {
    HTTP_PROXY: proxies.httpProxy,
    HTTPS_PROXY: proxies.httpsProxy,
    FTP_PROXY: proxies.ftpProxy,
    NO_PROXY: proxies.noProxy,
    ALL_PROXY: proxies.allProxy,
  };
  const set = Object.entries(values).filter((entry): entry is [string, string] => Boolean(entry[1]));
  return Object.fromEntries(
    set.flatMap(([name, value]) => [
      [name, value],
      [name.toLowerCase(), value],
    ]),
  );
}

/** `DOCKER_CUSTOM_HEADERS`: `name=value` separated by commas, instead of those of the file. */
function customHeaders(environment: Environment): Record<string, string> | undefined {
  const text = environment['DOCKER_CUSTOM_HEADERS'];
  if (!text) return undefined;
  const pairs = splitCsv(text).map((pair) => {
    const at = pair.indexOf('=');
    const name = pair.slice(0, at).trim();
    if (at < 1 || name === '') {
      throw new CliError(
        `failed to set custom headers from DOCKER_CUSTOM_HEADERS environment variable: value contains a key without value: ${JSON.stringify(pair)}`,
      );
    }
    return [name, pair.slice(at + 1)];
  });
  return Object.fromEntries(pairs) as Record<string, string>;
}

function passingAuths(text: string): Record<string, StoredAuth> {
  try {
    return (JSON.parse(text) as ConfigJson).auths ?? {};
  } catch (cause) {
    throw new CliError(`failed to parse DOCKER_AUTH_CONFIG: ${messageOf(cause)}`, { cause });
  }
}

/** The file's content, or what is in its way. */
function readConfig(path: string): { json: ConfigJson; problem?: string } {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { json: {} };
    return { json: {}, problem: `loading config file: ${openError(path, cause)}` };
  }
  try {
    return { json: text.trim() === '' ? {} : (JSON.parse(text) as ConfigJson) };
  } catch (cause) {
    return { json: {}, problem: `parsing config file (${path}): ${messageOf(cause)}` };
  }
}

function decode(stored: StoredAuth, key: string): Credentials | undefined {
  if (!stored.auth)
    return stored.identitytoken ? { identitytoken: stored.identitytoken, serveraddress: key } : undefined;
  const text = Buffer.from(stored.auth, 'base64').toString();
  const colon = text.indexOf(':');
  const credentials: Credentials = {
    username: text.slice(0, colon),
    password: text.slice(colon + 1),
    serveraddress: key,
  };
  return stored.identitytoken ? { ...credentials, identitytoken: stored.identitytoken } : credentials;
}

async function fromHelper(
  helper: string,
  key: string,
  environment: Environment,
): Promise<Credentials | undefined> {
  let answer: string;
  try {
    answer = await runHelper(helper, 'get', key, environment);
  } catch (error) {
    // A helper without an entry fails with this sentence; that is an anonymous pull, not a failure.
    if (messageOf(error).includes('credentials not found')) return undefined;
    throw error;
  }
  const { Username, Secret } = JSON.parse(answer) as { Username: string; Secret: string };
  if (Username === '<token>') return { identitytoken: Secret, serveraddress: key };
  return { username: Username, password: Secret, serveraddress: key };
}

/** Runs `docker-credential-<helper> <verb>` with `input` on its stdin. */
function runHelper(helper: string, verb: string, input: string, environment: Environment): Promise<string> {
  const program = `docker-credential-${helper}`;
  // loaded only here: most command lines need no credentials
  const { execFile } = process.getBuiltinModule('node:child_process');
  return new Promise((resolve, reject) => {
    const child = execFile(program, [verb], { env: environment }, (error, stdout) => {
      if (!error) resolve(stdout);
      else {
        const reason = stdout.trim() || error.message;
        reject(
          new CliError(`error getting credentials - the helper ${program} failed: ${reason}`, {
            cause: error,
          }),
        );
      }
    });
    child.stdin?.on('error', reject);
    child.stdin?.end(input);
  });
}

/** The `X-Registry-Auth` header: base64url of the credentials, `{}` for none. */
export function encodeAuth(credentials: Credentials | undefined): string {
  return base64url(credentials ?? {});
}

/** The `X-Registry-Config` header: base64url of {@link ConfigFile.allCredentials}. */
export function encodeRegistryConfig(credentials: Readonly<Record<string, Credentials>>): string {
  return base64url(credentials);
}

/** With padding, unlike Node's own: Go's decoders want it. */
function base64url(value: unknown): string {
  const text = Buffer.from(JSON.stringify(value)).toString('base64');
  return text.replaceAll('+', '-').replaceAll('/', '_');
}
