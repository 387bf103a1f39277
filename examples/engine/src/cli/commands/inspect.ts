/** `tare inspect`: prints objects as the daemon keeps them. */
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import { CliError, DaemonError, ExitError, UsageError, messageOf } from '../errors.ts';
import { string, toggle } from '../flags.ts';
import { objectFormatHelp } from '../format-flag.ts';
import { compileTemplate, type Template } from '../format/go-template.ts';
import { indentJson, parseJson } from '../format/json-text.ts';

/** Returns one object as the JSON text the daemon sent. */
export type Lookup = (name: string) => Promise<string>;

/**
 * Looks up every name and prints the objects: an indented array, one line each for `json`, or a template's output.
 * What was found is printed even when something else was not.
 */
export async function inspectAll(
  cli: Cli,
  names: readonly string[],
  format: string,
  lookup: Lookup,
): Promise<void> {
  const template = format === '' || format === 'json' ? undefined : parse(format);
  const texts: string[] = [];
  const failures: string[] = [];
  for (const name of names) {
    try {
      const text = await lookup(name);
      texts.push(template ? `${execute(template, parseJson(text))}\n` : text);
    } catch (error) {
      failures.push(messageOf(error));
    }
  }
  if (template) cli.stdout.write(texts.length > 0 ? texts.join('') : '\n');
  else if (format === 'json') cli.print(`[${texts.map((text) => text.trim()).join(',')}]`);
  else cli.print(indentJson(`[${texts.join(',')}]`));
  if (failures.length === 0) return;
  cli.warn(failures.join('\n'));
  throw new ExitError(1);
}

function parse(format: string): Template {
  try {
    return compileTemplate(format);
  } catch (cause) {
    throw new CliError(`template parsing error: ${messageOf(cause)}`, { exitCode: 64, cause });
  }
}

function execute(template: Template, value: unknown): string {
  try {
    return template.execute(value);
  } catch (cause) {
    throw new CliError(`template parsing error: ${messageOf(cause)}`, { cause });
  }
}

/** The kinds of object a bare name may mean, in the order they are tried. */
const kinds: readonly { type: string; path(name: string): string }[] = [
  { type: 'container', path: (name) => `/containers/${name}/json` },
  { type: 'image', path: (name) => `/images/${name}/json` },
  { type: 'network', path: (name) => `/networks/${name}` },
  { type: 'volume', path: (name) => `/volumes/${name}` },
  { type: 'plugin', path: (name) => `/plugins/${name}/json` },
];

/** Looks a name up as one kind of object, or as each in turn when `type` is empty. */
export function lookupByType(cli: Cli, type: string, size: boolean, platform?: string): Lookup {
  const tried = type === '' ? kinds : kinds.filter((kind) => kind.type === type);
  if (tried.length === 0) {
    throw new UsageError(
      `unknown type: ${JSON.stringify(type)}: must be one of "container", "image", "network", "volume" or "plugin"`,
    );
  }
  return async (name) => {
    for (const kind of tried) {
      try {
        return await cli.client.text('GET', kind.path(name), {
          query: { size: size && kind.type === 'container', platform },
        });
      } catch (error) {
        if (tried.length === 1 || !(error instanceof DaemonError) || error.status !== 404) throw error;
      }
    }
    throw new CliError(`Error: No such object: ${name}`);
  };
}

/** `inspect`. */
export const command = defineCommand({
  usage: '[OPTIONS] NAME|ID [NAME|ID...]',
  summary: 'Return low-level information on Docker objects',
  args: { min: 1, max: Infinity },
  flags: {
    format: string(objectFormatHelp, { short: 'f' }),
    size: toggle('Display total file sizes if the type is container', { short: 's' }),
    type: string('Only inspect objects of the given type'),
  },
  run: ({ cli, flags, args }) =>
    inspectAll(cli, args, flags.format, lookupByType(cli, flags.type, flags.size)),
});

/** `inspect` of one kind of object: `container inspect`, `network inspect`, … */
function inspectOnly(type: string, usage: string) {
  return defineCommand({
    usage,
    summary: `Display detailed information on one or more ${type}s`,
    args: { min: 1, max: Infinity },
    flags: {
      format: string(objectFormatHelp, { short: 'f' }),
      size: toggle('Display total file sizes', { short: 's' }),
      verbose: toggle('Verbose output for diagnostics', { short: 'v' }),
    },
    run: ({ cli, flags, args }) => inspectAll(cli, args, flags.format, lookupByType(cli, type, flags.size)),
  });
}

/** `container inspect`. */
export const container = inspectOnly('container', '[OPTIONS] CONTAINER [CONTAINER...]');
/** `image inspect`. */
export const image = defineCommand({
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  summary: 'Display detailed information on one or more images',
  args: { min: 1, max: Infinity },
  flags: {
    format: string(objectFormatHelp, { short: 'f' }),
    platform: string('Inspect a specific platform of the multi-platform image'),
  },
  async run({ cli, flags, args }) {
    const { platformJson } = await import('../values/platform.ts');
    return inspectAll(
      cli,
      args,
      flags.format,
      lookupByType(cli, 'image', false, platformJson(flags.platform)),
    );
  },
});
/** `network inspect`. */
export const network = inspectOnly('network', '[OPTIONS] NETWORK [NETWORK...]');
/** `volume inspect`. */
export const volume = inspectOnly('volume', '[OPTIONS] VOLUME [VOLUME...]');
