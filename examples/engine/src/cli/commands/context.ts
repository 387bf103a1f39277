/** `context create`, `ls`, `use`, `show`, `inspect`, `update`, `rm`, `export`, `import`. */
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import {
  checkContextName,
  defaultContext,
  type ContextEndpoint,
  type ContextMeta,
  type TlsFiles,
} from '../contexts.ts';
import { CliError, ManyErrors, UsageError, openError } from '../errors.ts';
import { parsed, string, toggle } from '../flags.ts';
import { formatHelp, objectFormatHelp } from '../format-flag.ts';
import { defaultDescription, hostOfDefault } from '../host.ts';
import { printListing, type Listing } from '../output.ts';
import { splitCsv } from '../values/csv.ts';
import { inspectAll } from './inspect.ts';

interface Row {
  name: string;
  description: string;
  endpoint: string;
  current: boolean;
}

const listing: Listing<Row> = {
  columns: {
    Current: { header: '', value: ({ current }) => current },
    Description: { header: 'DESCRIPTION', value: ({ description }) => description },
    DockerEndpoint: { header: 'DOCKER ENDPOINT', value: ({ endpoint }) => endpoint },
    Error: { header: 'ERROR', value: () => '' },
    Name: { header: 'NAME', value: ({ name }) => name },
  },
  typeName: '*formatter.clientContextContext',
  table: '{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}',
};

/** A variable that decides about the daemon whatever the current context is. */
function overriding({ environment }: Cli): string | undefined {
  return ['TARE_HOST', 'DOCKER_HOST'].find((name) => environment[name]);
}

function warnOfOverride(cli: Cli, wish: string): void {
  const name = overriding(cli);
  if (name === undefined) return;
  cli.warn(
    `Warning: ${name} environment variable overrides the active context. To use ${wish}, either set the global --context flag, or unset ${name} environment variable.`,
  );
}

function defaultMeta(cli: Cli): ContextMeta {
  return {
    Name: defaultContext,
    Metadata: {},
    Endpoints: { docker: { Host: hostOfDefault(cli.globals.host, cli.environment), SkipTLSVerify: false } },
  };
}

function find(cli: Cli, name: string): ContextMeta {
  return name === defaultContext ? defaultMeta(cli) : cli.contexts.get(name);
}

/** `context ls`. */
export const ls = defineCommand({
  usage: '[OPTIONS]',
  summary: 'List contexts',
  args: { min: 0 },
  flags: { format: string(formatHelp), quiet: toggle('Only show context names', { short: 'q' }) },
  async run({ cli, flags }) {
    const current = cli.contextName;
    const rows = [
      ...cli.contexts.list().map(({ Name, Metadata, Endpoints }) => ({
        name: Name,
        description: Metadata.Description ?? '',
        endpoint: Endpoints.docker?.Host ?? '',
      })),
      {
        name: defaultContext,
        description: defaultDescription,
        endpoint: hostOfDefault(cli.globals.host, cli.environment),
      },
    ];
    rows.sort((a, b) => (a.name < b.name ? -1 : 1));
    printListing(
      cli,
      listing,
      rows.map((row) => ({ ...row, current: row.name === current })),
      { ...flags, idOf: ({ name }) => name },
    );
    warnOfOverride(cli, 'a context');
  },
});

/** `context show`. */
export const show = defineCommand({
  usage: '',
  summary: 'Print the name of the current context',
  args: { min: 0 },
  flags: {},
  run: async ({ cli }) => cli.print(cli.contextName),
});

/** `context use`. */
export const use = defineCommand({
  usage: 'CONTEXT',
  summary: 'Set the current docker context',
  args: { min: 1 },
  flags: {},
  async run({ cli, args }) {
    const name = args[0]!;
    find(cli, name);
    cli.config.setCurrentContext(name === defaultContext ? undefined : name);
    cli.print(name);
    cli.warn(`Current context is now ${JSON.stringify(name)}`);
    if (name !== defaultContext) warnOfOverride(cli, JSON.stringify(name));
  },
});

/** `context inspect`. */
export const inspect = defineCommand({
  usage: '[OPTIONS] [CONTEXT] [CONTEXT...]',
  summary: 'Display detailed information on one or more contexts',
  args: { min: 0, max: Infinity },
  flags: { format: string(objectFormatHelp, { short: 'f' }) },
  run: ({ cli, flags, args }) =>
    inspectAll(cli, args.length > 0 ? args : [cli.contextName], flags.format, async (name) => {
      const inMemory = name === defaultContext;
      const files = inMemory ? [] : Object.keys(cli.contexts.tls(name)).sort();
      const { Name, Metadata, Endpoints } = find(cli, name);
      return JSON.stringify({
        Name,
        Metadata,
        Endpoints,
        TLSMaterial: files.length > 0 ? { docker: files } : {},
        Storage: {
          MetadataPath: inMemory ? '<IN MEMORY>' : cli.contexts.metaFolder(name),
          TLSPath: inMemory ? '<IN MEMORY>' : cli.contexts.tlsFolder(name),
        },
      }).replace(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`);
    }),
});

/** `--docker host=…,ca=…,cert=…,key=…,skip-tls-verify=…,from=…`. */
const dockerFlag = parsed(
  parsePairs,
  'stringToString',
  undefined as Map<string, string> | undefined,
  'set the docker endpoint',
);
const definition = {
  description: string('Description of the context'),
  docker: dockerFlag,
};

function parsePairs(text: string): Map<string, string> {
  return new Map(
    splitCsv(text).map((pair) => {
      const at = pair.indexOf('=');
      if (at < 0) throw new UsageError(`${pair} must be formatted as key=value`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

interface Endpoint {
  endpoint: ContextEndpoint;
  tls: TlsFiles;
}

function isCertificate(pem: Buffer): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    // whatever it is
    return false;
  }
}

function endpointOf(cli: Cli, settings: ReadonlyMap<string, string>): Endpoint {
  const fail = (why: string): never => {
    throw new CliError(`unable to create docker endpoint config: ${why}`);
  };
  for (const key of settings.keys()) {
    if (!['host', 'ca', 'cert', 'key', 'skip-tls-verify', 'from'].includes(key)) {
      fail(`unrecognized config key: ${key}`);
    }
  }
  const from = settings.get('from');
  if (from !== undefined) return copyOf(cli, from);
  const tls: TlsFiles = {};
  for (const part of ['ca', 'cert', 'key'] as const) {
    const path = settings.get(part);
    if (!path) continue;
    try {
      tls[`${part}.pem`] = readFileSync(resolve(cli.workingDirectory, path));
    } catch (cause) {
      fail(openError(path, cause));
    }
    if (part !== 'key' && !isCertificate(tls[`${part}.pem`]!)) {
      fail(`invalid docker endpoint options: failed to retrieve context tls info: ${part}.pem seems invalid`);
    }
  }
  return {
    endpoint: {
      Host: settings.get('host') ?? hostOfDefault('', cli.environment),
      SkipTLSVerify: /^(?:1|t|true)$/i.test(settings.get('skip-tls-verify') ?? ''),
    },
    tls,
  };
}

function copyOf(cli: Cli, name: string): Endpoint {
  const { Endpoints } = find(cli, name);
  const endpoint = Endpoints.docker ?? { Host: hostOfDefault('', cli.environment), SkipTLSVerify: false };
  return { endpoint, tls: name === defaultContext ? {} : cli.contexts.tls(name) };
}

/** `context create`. */
export const create = defineCommand({
  usage: '[OPTIONS] CONTEXT',
  summary: 'Create a context',
  args: { min: 1 },
  flags: { ...definition, from: string('create context from a named context') },
  async run({ cli, flags, args }) {
    const name = args[0]!;
    checkContextName(name);
    if (cli.contexts.has(name)) throw new CliError(`context ${JSON.stringify(name)} already exists`);
    const source = flags.docker ? undefined : flags.from || cli.contextName;
    const { endpoint, tls } = flags.docker ? endpointOf(cli, flags.docker) : copyOf(cli, source!);
    const inherited =
      source === defaultContext
        ? defaultDescription
        : source && cli.contexts.get(source).Metadata.Description;
    const description = flags.description || inherited;
    cli.contexts.save(
      {
        Name: name,
        Metadata: description ? { Description: description } : {},
        Endpoints: { docker: endpoint },
      },
      tls,
    );
    cli.print(name);
    cli.warn(`Successfully created context ${JSON.stringify(name)}`);
  },
});

/** `context update`. */
export const update = defineCommand({
  usage: '[OPTIONS] CONTEXT',
  summary: 'Update a context',
  args: { min: 1 },
  flags: definition,
  async run({ cli, flags, args }) {
    const name = args[0]!;
    checkContextName(name);
    const meta = cli.contexts.get(name);
    const { endpoint, tls } = flags.docker ? endpointOf(cli, flags.docker) : copyOf(cli, name);
    if (flags.description) meta.Metadata.Description = flags.description;
    meta.Endpoints.docker = endpoint;
    cli.contexts.save(meta, tls);
    cli.print(name);
    cli.warn(`Successfully updated context ${JSON.stringify(name)}`);
  },
});

/** `context rm`. */
export const rm = defineCommand({
  usage: 'CONTEXT [CONTEXT...]',
  summary: 'Remove one or more contexts',
  args: { min: 1, max: Infinity },
  flags: { force: toggle('Force the removal of a context in use', { short: 'f' }) },
  async run({ cli, flags, args }) {
    const failures: unknown[] = [];
    for (const name of args) {
      try {
        remove(cli, name, flags.force);
        cli.print(name);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new ManyErrors(failures);
  },
});

function remove(cli: Cli, name: string, force: boolean): void {
  const named = `context ${JSON.stringify(name)}`;
  if (name === defaultContext) throw new CliError(`${named} cannot be removed`);
  if (!force && !cli.contexts.has(name)) throw new CliError(`${named} does not exist`);
  if (name === cli.contextName) {
    if (!force) throw new CliError(`${named} is in use, set -f flag to force remove`);
    cli.config.setCurrentContext(undefined);
  }
  cli.contexts.remove(name);
}

/** `context export`. */
export const exportContext = defineCommand({
  usage: '[OPTIONS] CONTEXT [FILE|-]',
  summary: 'Export a context to a tar archive FILE or a tar stream on STDOUT.',
  args: { min: 1, max: 2 },
  flags: {},
  async run({ cli, args: [name, target = `${name}.dockercontext`] }) {
    checkContextName(name!);
    const meta = cli.contexts.get(name!);
    const { packContext } = await import('../context-archive.ts');
    const archive = await packContext(meta, cli.contexts.tls(name!));
    if (target === '-') {
      if (cli.stdout.isTTY)
        throw new CliError('cowardly refusing to export to a terminal, specify a file path');
      cli.stdout.write(archive);
      return;
    }
    const path = resolve(cli.workingDirectory, target);
    if (existsSync(path)) throw new CliError(`open ${target}: file exists`);
    const { writeFile } = await import('node:fs/promises');
    await writeFile(path, archive, { mode: 0o600, flag: 'wx' }).catch((cause: unknown) => {
      throw new CliError(openError(target, cause), { cause });
    });
    cli.warn(`Written file ${JSON.stringify(target)}`);
  },
});

/** `context import`. */
export const importContext = defineCommand({
  usage: 'CONTEXT FILE|-',
  summary: 'Import a context from a tar or zip file',
  args: { min: 2 },
  flags: {},
  async run({ cli, args: [name, source] }) {
    checkContextName(name!);
    if (cli.contexts.has(name!)) throw new CliError(`context ${JSON.stringify(name)} already exists`);
    const [{ unpackContext }, { openInput }] = await Promise.all([
      import('../context-archive.ts'),
      import('../archives.ts'),
    ]);
    const { meta, tls } = await unpackContext(source === '-' ? cli.stdin : await openInput(cli, source!));
    cli.contexts.save({ ...meta, Name: name! }, tls);
    cli.print(name!);
    cli.warn(`Successfully imported context ${JSON.stringify(name)}`);
  },
});
