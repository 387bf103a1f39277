/** The docker CLI's plugins, hosted: programs `docker-<name>` that bring a command of their own, such as compose and buildx. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants, readdirSync } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { defaultContext } from './contexts.ts';
import type { Cli } from './cli.ts';
import { CliError } from './errors.ts';

/** Where packages put them, after the user's own. */
const systemFolders = [
  '/usr/local/lib/docker/cli-plugins',
  '/usr/local/libexec/docker/cli-plugins',
  '/usr/lib/docker/cli-plugins',
  '/usr/libexec/docker/cli-plugins',
];

const PREFIX = 'docker-';
/** What a plugin says of itself when it is asked with this word. */
const METADATA_COMMAND = 'docker-cli-plugin-metadata';
/** A plugin that does not answer must not keep the help from the user. */
const METADATA_TIMEOUT_MS = 5000;

function folders(cli: Cli): string[] {
  return [join(cli.config.folder, 'cli-plugins'), ...cli.config.pluginFolders, ...systemFolders];
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // not there, or not for us
    return false;
  }
}

/** The program of a plugin, or undefined. */
export function pluginPath(cli: Cli, name: string): string | undefined {
  if (!/^[a-z][a-z0-9]*$/.test(name)) return undefined;
  return folders(cli)
    .map((folder) => join(folder, `${PREFIX}${name}`))
    .find(isExecutable);
}

/** A plugin as it describes itself. */
export interface Plugin {
  name: string;
  path: string;
  summary: string;
  version: string;
  vendor: string;
}

/** Every plugin that answers, by name. */
export async function listPlugins(cli: Cli): Promise<Plugin[]> {
  const names = new Set(
    folders(cli).flatMap((folder) => {
      try {
        return readdirSync(folder);
      } catch {
        // most machines have one of the folders, or none
        return [];
      }
    }),
  );
  const found = [...names]
    .filter((file) => file.startsWith(PREFIX))
    .map((file) => describe(cli, file.slice(PREFIX.length)));
  const plugins = (await Promise.all(found)).filter((plugin) => plugin !== undefined);
  return plugins.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function describe(cli: Cli, name: string): Promise<Plugin | undefined> {
  const path = pluginPath(cli, name);
  if (path === undefined) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const options = { env: cli.environment as NodeJS.ProcessEnv, timeout: METADATA_TIMEOUT_MS };
    execFile(path, [METADATA_COMMAND], options, (error, stdout) => {
      const metadata = error ? undefined : parseMetadata(stdout);
      if (!metadata) return resolve(undefined);
      const { ShortDescription = '', Version = '', Vendor = '' } = metadata;
      resolve({ name, path, summary: ShortDescription, version: Version, vendor: Vendor });
    });
  });
}

type Metadata = { SchemaVersion: string } & Partial<
  Record<'ShortDescription' | 'Version' | 'Vendor', string>
>;

function parseMetadata(text: string): Metadata | undefined {
  try {
    const metadata = JSON.parse(text) as Metadata;
    return metadata.SchemaVersion === '0.1.0' ? metadata : undefined;
  } catch {
    // a program of that name that is no plugin
    return undefined;
  }
}

/** Signals that end a plugin; those of the terminal it gets by itself, with us. */
const passedOn = ['SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGINT'] as const;

/**
 * Runs a plugin with our streams and returns its exit code. It finds the daemon as we would: by the chosen context,
 * which it can read itself, or by `DOCKER_HOST`, which is set to our address, since its own default is Docker's.
 */
export async function runPlugin(cli: Cli, path: string, args: readonly string[]): Promise<number> {
  const { config, debug, tls } = cli.globals;
  const byContext = cli.contextName !== defaultContext;
  const flags = [
    ...(config ? ['--config', config] : []),
    ...(debug ? ['--debug'] : []),
    ...(tls.tls ? ['--tls'] : []),
    ...(tls.tlsverify ? ['--tlsverify'] : []),
    ...(['tlscacert', 'tlscert', 'tlskey'] as const).flatMap((name) =>
      tls[name] ? [`--${name}`, tls[name]] : [],
    ),
    ...(byContext ? ['--context', cli.contextName] : []),
  ];
  let child: ChildProcess | undefined;
  const onTerminal = cli.stdin.isTTY === true;
  const forward = (signal: NodeJS.Signals): void => {
    // ctrl-C on a terminal has reached the plugin already
    if (!(onTerminal && signal === 'SIGINT')) child?.kill(signal);
  };
  // before it is there: a signal in between would end us, and leave it behind
  for (const signal of passedOn) process.on(signal, forward);
  try {
    const started = (child = spawn(path, [...flags, ...args], {
      stdio: 'inherit',
      cwd: cli.workingDirectory,
      env: {
        ...cli.environment,
        ...(byContext ? {} : { DOCKER_HOST: cli.endpoint().url }),
        DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND: process.argv[1] ?? 'tare',
      },
    }));
    return await new Promise<number>((resolve, reject) => {
      started.once('error', (cause) =>
        reject(new CliError(`cannot run the plugin ${path}: ${cause.message}`, { cause })),
      );
      started.once('exit', (code, signal) => resolve(code ?? 128 + osConstants.signals[signal!]));
    });
  } finally {
    for (const signal of passedOn) process.off(signal, forward);
  }
}
