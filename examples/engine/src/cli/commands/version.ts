/** `tare version`: shows the versions of client and daemon. */
import type { Cli } from '../cli.ts';
import { clientApiVersion } from '../client.ts';
import { defineCommand } from '../command.ts';
import { CliError, messageOf } from '../errors.ts';
import { string } from '../flags.ts';
import { objectFormatHelp } from '../format-flag.ts';
import { compileTemplate } from '../format/go-template.ts';
import { stringifyJson } from '../format/json-text.ts';
import { alignTabs } from '../format/tabwriter.ts';
import { BUILD_TIME, GIT_COMMIT, TARE_VERSION } from '../../version.ts';

interface Component {
  Name: string;
  Version: string;
  Details?: Record<string, string> | null;
}

interface ServerVersion {
  Platform?: { Name: string };
  Components?: Component[] | null;
  Version: string;
  ApiVersion: string;
  MinAPIVersion: string;
}

/** What the client says about itself. */
async function clientDetails(cli: Cli, connected: boolean) {
  const agreed = connected ? await cli.client.apiVersion() : clientApiVersion;
  return {
    Version: TARE_VERSION,
    ApiVersion: agreed,
    DefaultAPIVersion: clientApiVersion,
    NodeVersion: process.version,
    GitCommit: GIT_COMMIT,
    BuildTime: BUILD_TIME,
    Os: process.platform,
    Arch: process.arch === 'x64' ? 'amd64' : process.arch,
    Context: cli.contextName,
  };
}

/** `version`. */
export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Show the Tare version information',
  args: { min: 0 },
  flags: { format: string(objectFormatHelp, { short: 'f' }) },
  async run({ cli, flags }) {
    let server: ServerVersion | undefined;
    let failure: unknown;
    try {
      server = await cli.client.json<ServerVersion>('GET', '/version');
    } catch (error) {
      failure = error;
    }
    const client = await clientDetails(cli, server !== undefined);
    try {
      if (flags.format === '') cli.stdout.write(render(client, server));
      else cli.print(format(flags.format, { Client: client, Server: server ?? null }));
    } catch (error) {
      // a template that needs the server fails because there is none
      throw failure ?? error;
    }
    if (failure) throw failure;
  },
});

function format(template: string, value: unknown): string {
  if (template === 'json') return stringifyJson(value);
  try {
    return compileTemplate(template).execute(value);
  } catch (cause) {
    throw new CliError(`template parsing error: ${messageOf(cause)}`, { exitCode: 64, cause });
  }
}

function render(
  client: Awaited<ReturnType<typeof clientDetails>>,
  server: ServerVersion | undefined,
): string {
  const { ApiVersion, DefaultAPIVersion } = client;
  const downgraded = ApiVersion === DefaultAPIVersion ? '' : ` (downgraded from ${DefaultAPIVersion})`;
  let text = alignTabs(
    [
      'Client:',
      ` Version:\t${client.Version}`,
      ` API version:\t${ApiVersion}${downgraded}`,
      ` Node version:\t${client.NodeVersion}`,
      ` Git commit:\t${client.GitCommit}`,
      ...(client.BuildTime ? [` Built:\t${buildTime(client.BuildTime)}`] : []),
      ` OS/Arch:\t${client.Os}/${client.Arch}`,
      ` Context:\t${client.Context}`,
      '',
    ].join('\n'),
    narrow,
  );
  if (!server) return text;
  const platform = server.Platform?.Name;
  text += `\nServer:${platform ? ` ${platform}` : ''}\n`;
  return text + alignTabs((server.Components ?? []).map(componentLines).join(''), narrow);
}

/** Docker lays this one listing out with less air. */
const narrow = { minWidth: 20, padding: 1 };

function componentLines({ Name, Version, Details }: Component): string {
  const details = Details ?? {};
  const row = (label: string, value: string | undefined): string =>
    value === undefined ? '' : `  ${label}:\t${value}\n`;
  if (Name !== 'Engine') {
    const rest = Object.keys(details)
      .sort()
      .map((key) => row(key, details[key]));
    return ` ${Name}:\n${row('Version', Version)}${rest.join('')}`;
  }
  return [
    ` ${Name}:\n`,
    row('Version', Version),
    row('API version', `${details['ApiVersion']} (minimum version ${details['MinAPIVersion']})`),
    row('Go version', details['GoVersion']),
    row('Git commit', details['GitCommit']),
    row('Built', buildTime(details['BuildTime'])),
    row('OS/Arch', `${details['Os']}/${details['Arch']}`),
    row('Experimental', details['Experimental']),
  ].join('');
}

/** `2026-08-13T05:35:48Z` → `Thu Aug 13 05:35:48 2026`. */
function buildTime(text: string | undefined): string | undefined {
  const date = text === undefined ? undefined : new Date(text);
  if (!date || Number.isNaN(date.getTime())) return text;
  const [, day, month, year, time] = /^\w+, (\d+) (\w+) (\d+) ([\d:]+)/.exec(date.toUTCString())!;
  const weekday = date.toUTCString().slice(0, 3);
  return `${weekday} ${month} ${String(Number(day)).padStart(2)} ${time} ${year}`;
}
