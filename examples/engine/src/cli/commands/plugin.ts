/** `plugin`: the daemon's own plugins (of volumes, networks, logs), as distinct from those of the command line. */
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Cli } from '../cli.ts';
import { encodeFilters } from '../client.ts';
import { defineCommand } from '../command.ts';
import { encodeAuth } from '../config-file.ts';
import { forEach } from '../each.ts';
import { CliError } from '../errors.ts';
import { filterFlag } from '../filter-flag.ts';
import { integer, string, toggle } from '../flags.ts';
import { formatHelp, objectFormatHelp } from '../format-flag.ts';
import { ellipsis, shortId } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';
import { displayProgress } from '../progress.ts';
import { confirm } from '../confirm.ts';
import { parseImageName } from '../values/image-name.ts';
import { inspectAll } from './inspect.ts';

interface Plugin {
  Id: string;
  Name: string;
  Enabled: boolean;
  PluginReference: string;
  Config: { Description: string };
}

interface Privilege {
  Name: string;
  Description: string;
  Value: string[] | null;
}

const grantAllPermissions = toggle('Grant all permissions necessary to run the plugin');
const disableContentTrust = toggle('Skip image verification', { initial: true });

function listing(truncate: boolean): Listing<Plugin> {
  return {
    columns: {
      ID: { header: 'ID', value: ({ Id }) => (truncate ? shortId(Id) : Id) },
      Name: { header: 'NAME', value: ({ Name }) => Name },
      Description: {
        header: 'DESCRIPTION',
        value: ({ Config }) => {
          const text = Config.Description.replace(/[\r\n]/g, ' ');
          return truncate ? ellipsis(text, 45) : text;
        },
      },
      Enabled: { header: 'ENABLED', value: ({ Enabled }) => Enabled },
      PluginReference: { header: 'PLUGIN REFERENCE', value: ({ PluginReference }) => PluginReference },
    },
    typeName: '*plugin.pluginContext',
    table: '{{.ID}}\t{{.Name}}\t{{.Description}}\t{{.Enabled}}',
  };
}

/** `plugin ls`. */
export const ls = defineCommand({
  usage: '[OPTIONS]',
  summary: 'List plugins',
  args: { min: 0 },
  flags: {
    filter: filterFlag('Provide filter values (e.g. "enabled=true")'),
    format: string(formatHelp),
    noTrunc: toggle("Don't truncate output"),
    quiet: toggle('Only display plugin IDs', { short: 'q' }),
  },
  async run({ cli, flags }) {
    const plugins = await cli.client.json<Plugin[]>('GET', '/plugins', {
      query: { filters: encodeFilters(flags.filter) },
    });
    plugins.sort((a, b) => (a.Name < b.Name ? -1 : 1));
    printListing(cli, listing(!flags.noTrunc), plugins, {
      format: flags.format || (flags.quiet ? '' : (cli.config.format('plugins') ?? '')),
      quiet: flags.quiet,
      idOf: ({ Id }) => (flags.noTrunc ? Id : shortId(Id)),
    });
  },
});

/** `plugin inspect`. */
export const inspect = defineCommand({
  usage: '[OPTIONS] PLUGIN [PLUGIN...]',
  summary: 'Display detailed information on one or more plugins',
  args: { min: 1, max: Infinity },
  flags: { format: string(objectFormatHelp, { short: 'f' }) },
  run: ({ cli, flags, args }) =>
    inspectAll(cli, args, flags.format, (name) => cli.client.text('GET', `/plugins/${name}/json`)),
});

/** `plugin create`. */
export const create = defineCommand({
  usage: '[OPTIONS] PLUGIN PLUGIN-DATA-DIR',
  summary:
    'Create a plugin from a rootfs and configuration. Plugin data directory must contain config.json and rootfs directory.',
  args: { min: 2 },
  flags: { compress: toggle('Compress the context using gzip') },
  async run({ cli, flags, args: [name, directory] }) {
    const root = resolve(cli.workingDirectory, directory!);
    await readFile(join(root, 'config.json')).catch((cause: unknown) => {
      throw new CliError(`${directory} is no plugin: it has no config.json`, { cause });
    });
    const { packLocal } = await import('../local-trees.ts');
    const archive = packLocal(root, '.', undefined, (bytes) => bytes);
    const { createGzip } = await import('node:zlib');
    await cli.client.text('POST', '/plugins/create', {
      query: { name },
      headers: { 'Content-Type': 'application/x-tar' },
      body: flags.compress ? archive.pipe(createGzip()) : archive,
    });
    cli.print(name!);
  },
});

/** `plugin enable`. */
export const enable = defineCommand({
  usage: '[OPTIONS] PLUGIN',
  summary: 'Enable a plugin',
  args: { min: 1 },
  flags: { timeout: integer('HTTP client timeout (in seconds)', { initial: 30 }) },
  async run({ cli, flags, args: [name] }) {
    await cli.client.text('POST', `/plugins/${name}/enable`, { query: { timeout: flags.timeout } });
    cli.print(name!);
  },
});

/** `plugin disable`. */
export const disable = defineCommand({
  usage: '[OPTIONS] PLUGIN',
  summary: 'Disable a plugin',
  args: { min: 1 },
  flags: { force: toggle('Force the disable of an active plugin', { short: 'f' }) },
  async run({ cli, flags, args: [name] }) {
    await cli.client.text('POST', `/plugins/${name}/disable`, { query: { force: flags.force } });
    cli.print(name!);
  },
});

/** `plugin rm`. */
export const rm = defineCommand({
  usage: '[OPTIONS] PLUGIN [PLUGIN...]',
  summary: 'Remove one or more plugins',
  args: { min: 1, max: Infinity },
  flags: { force: toggle('Force the removal of an active plugin', { short: 'f' }) },
  run: ({ cli, flags, args }) =>
    forEach(cli, args, async (name) => {
      await cli.client.text('DELETE', `/plugins/${name}`, { query: { force: flags.force } });
      return name;
    }),
});

/** `plugin set`. */
export const set = defineCommand({
  usage: 'PLUGIN KEY=VALUE [KEY=VALUE...]',
  summary: 'Change settings for a plugin',
  args: { min: 2, max: Infinity },
  flags: {},
  async run({ cli, args: [name, ...settings] }) {
    await cli.client.text('POST', `/plugins/${name}/set`, { json: settings });
  },
});

/** Asks the user for what the plugin wants, and returns it. @throws {CliError} when they refuse */
async function granted(cli: Cli, remote: string, shown: string, all: boolean): Promise<Privilege[]> {
  const privileges = await cli.client.json<Privilege[] | null>('GET', '/plugins/privileges', {
    query: { remote },
    headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(parseImageName(remote).registry)) },
  });
  if (all || !privileges || privileges.length === 0) return privileges ?? [];
  cli.print(`Plugin ${JSON.stringify(shown)} is requesting the following privileges:`);
  for (const { Name, Value } of privileges) cli.print(` - ${Name}: [${(Value ?? []).join(' ')}]`);
  if (await confirm(cli, 'Do you grant the above permissions?')) return privileges;
  throw new CliError('permission denied while installing plugin');
}

/** `plugin install`. */
export const install = defineCommand({
  usage: '[OPTIONS] PLUGIN [KEY=VALUE...]',
  summary: 'Install a plugin',
  args: { min: 1, max: Infinity },
  flags: {
    alias: string('Local name for plugin'),
    disable: toggle('Do not enable the plugin on install'),
    disableContentTrust,
    grantAllPermissions,
  },
  async run({ cli, flags, args: [remote, ...settings] }) {
    const { canonical, registry } = parseImageName(remote!);
    const json = await granted(cli, canonical, remote!, flags.grantAllPermissions);
    const name = flags.alias || remote!;
    const response = await cli.client.call('POST', '/plugins/pull', {
      query: { remote: canonical, name },
      headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(registry)) },
      json,
    });
    await displayProgress(cli, response);
    if (settings.length > 0) await cli.client.text('POST', `/plugins/${name}/set`, { json: settings });
    if (!flags.disable) await cli.client.text('POST', `/plugins/${name}/enable`, { query: { timeout: 0 } });
    cli.print(`Installed plugin ${name}`);
  },
});

/** `plugin upgrade`. */
export const upgrade = defineCommand({
  usage: '[OPTIONS] PLUGIN [REMOTE]',
  summary: 'Upgrade an existing plugin',
  args: { min: 1, max: 2 },
  flags: {
    disableContentTrust,
    grantAllPermissions,
    skipRemoteCheck: toggle('Do not check if specified remote plugin matches existing plugin image'),
  },
  async run({ cli, flags, args: [name, given] }) {
    const plugin = await cli.client.json<Plugin>('GET', `/plugins/${name}/json`);
    if (plugin.Enabled) throw new CliError('the plugin must be disabled before upgrading');
    const { canonical, registry } = parseImageName(given ?? plugin.PluginReference);
    const old = parseImageName(plugin.PluginReference).canonical;
    if (old !== canonical && !flags.skipRemoteCheck) {
      const question = `Plugin images do not match, are you sure? (${old} → ${canonical})`;
      if (!(await confirm(cli, question))) throw new CliError('canceling upgrade request');
    }
    const json = await granted(cli, canonical, name!, flags.grantAllPermissions);
    const response = await cli.client.call('POST', `/plugins/${name}/upgrade`, {
      query: { remote: canonical },
      headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(registry)) },
      json,
    });
    await displayProgress(cli, response);
    cli.print(`Upgraded plugin ${name} to ${canonical}`);
  },
});

/** `plugin push`. */
export const push = defineCommand({
  usage: '[OPTIONS] PLUGIN[:TAG]',
  summary: 'Push a plugin to a registry',
  args: { min: 1 },
  flags: { disableContentTrust: toggle('Skip image signing', { initial: true }) },
  async run({ cli, args: [name] }) {
    const { registry, canonical } = parseImageName(name!);
    const response = await cli.client.call('POST', `/plugins/${canonical}/push`, {
      headers: { 'X-Registry-Auth': encodeAuth(await cli.config.credentials(registry)) },
    });
    await displayProgress(cli, response);
  },
});
