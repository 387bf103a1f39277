/** `tare build` through BuildKit's API: its flags, brought into the form that the frontend takes. */
import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Readable } from 'node:stream';
import type { Cli } from '../cli.ts';
import { assignments, isArchive, type BuildFlags } from '../build-flags.ts';
import { CliError, ExitError, UsageError } from '../errors.ts';
import type { ProgressMode } from '../progress.ts';
import { parseAttributes } from './attributes.ts';
import { parseAgent, parseSecret, type BuildOptions, type BuildSource } from './options.ts';
import { parseCache, parseOutput, type Output } from './outputs.ts';
import { tryUnchanged } from './unchanged.ts';

/** Does the whole command. */
export async function buildCommand(
  cli: Cli,
  flags: BuildFlags,
  source: string,
  progress: ProgressMode,
): Promise<void> {
  const options: BuildOptions = {
    ...(await sourceOf(cli, source, flags.file)),
    names: flags.tag,
    frontend: frontendOf(cli, flags),
    contexts: new Map(flags.buildContext.map(namedContext)),
    secrets: new Map(flags.secret.map((text) => parseSecret(parseAttributes(text), cli))),
    agents: new Map(flags.ssh.map((text) => parseAgent(text, cli))),
    output: outputOf(cli, flags),
    cacheFrom: flags.cacheFrom.map(parseCache),
    cacheTo: flags.cacheTo.map(parseCache),
    entitlements: [...flags.allow, ...(flags.network === 'host' ? ['network.host'] : [])],
    progress,
  };
  const call = flags.check ? 'check' : flags.call;
  if (call !== 'build') return ask(cli, call, options);
  const tried = await tryUnchanged(cli, options);
  const metadata = tried.metadata ?? (await (await loadBuild()).buildImage(cli, options, tried.listed));
  const id = metadata['containerimage.config.digest'] ?? '';
  if (flags.quiet && id !== '') cli.print(id);
  const write = (path: string, text: string): Promise<void> =>
    writeFile(resolve(cli.workingDirectory, path), text);
  if (flags.iidfile !== '') await write(flags.iidfile, id);
  if (flags.metadataFile !== '')
    await write(flags.metadataFile, `${JSON.stringify(metadata, undefined, 2)}\n`);
}

/** What BuildKit's API takes, half of the time of a build with nothing to do is spent on loading. */
const loadBuild = () => import('./build.ts');

const QUESTIONS: Readonly<Record<string, string>> = {
  check: 'frontend.lint',
  lint: 'frontend.lint',
  outline: 'frontend.outline',
  targets: 'frontend.targets',
};

async function ask(cli: Cli, call: string, options: BuildOptions): Promise<void> {
  const question = Object.hasOwn(QUESTIONS, call) ? QUESTIONS[call] : undefined;
  if (question === undefined)
    throw new UsageError(`--call ${call}: "build", "check", "outline" or "targets"`);
  const { askAbout } = await loadBuild();
  const { text, json, failed } = await askAbout(cli, question, options);
  if (question !== 'frontend.lint') return cli.print(text);
  const { warnings = [] } = json as { warnings?: unknown[] };
  if (text !== '') cli.print(text);
  if (warnings.length > 0) {
    throw new CliError(`check complete, ${warnings.length} warning${warnings.length > 1 ? 's' : ''} found`);
  }
  if (failed) throw new ExitError(1);
  cli.print('Check complete, no warnings found.');
}

async function sourceOf(
  cli: Cli,
  source: string,
  file: string,
): Promise<Pick<BuildOptions, 'source' | 'file' | 'dockerfile'>> {
  const input = (): Promise<Buffer> => buffer(cli.stdin as unknown as Readable);
  if (source === '-') {
    if (file === '-')
      throw new UsageError("invalid argument: can't use stdin for both build context and dockerfile");
    const data = await input();
    if (isArchive(data)) return { source: { kind: 'archive', data }, file, dockerfile: undefined };
    return { source: { kind: 'nothing' }, file: '', dockerfile: data };
  }
  const isAddress = /^(?:https?|git|ssh):\/\//.test(source) || /^git@|^github\.com\//.test(source);
  const from: BuildSource = isAddress
    ? { kind: 'address', url: source }
    : { kind: 'directory', path: source };
  return file === '-'
    ? { source: from, file: '', dockerfile: await input() }
    : { source: from, file, dockerfile: undefined };
}

function namedContext(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at <= 0) throw new UsageError(`invalid context value: ${text}, expected key=value`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function outputOf(cli: Cli, { output, push, load }: BuildFlags): Output | undefined {
  const given = output.map((text) => parseOutput(text, cli.workingDirectory));
  if (push) given.push({ type: 'image', attributes: { push: 'true' }, destination: undefined });
  if (load) given.push({ type: 'image', attributes: {}, destination: undefined });
  if (given.length > 1)
    throw new UsageError('a result goes to one output: give one of --output, --push and --load');
  return given[0];
}

function frontendOf(cli: Cli, flags: BuildFlags): Record<string, string> {
  const platform = flags.platform || cli.environment['DOCKER_DEFAULT_PLATFORM'];
  const args = { ...cli.proxyVariables, ...assignments(flags.buildArg, cli.environment) };
  const epoch = cli.environment['SOURCE_DATE_EPOCH'];
  if (epoch && !Object.hasOwn(args, 'SOURCE_DATE_EPOCH')) args['SOURCE_DATE_EPOCH'] = epoch;
  const prefixed = (prefix: string, values: Readonly<Record<string, string | null>>) =>
    Object.entries(values).flatMap(([name, value]) => (value === null ? [] : [[`${prefix}:${name}`, value]]));
  const given: [string, string | undefined][] = [
    ['target', flags.target || undefined],
    ['platform', platform || undefined],
    [
      'no-cache',
      flags.noCache ? '' : flags.noCacheFilter.length > 0 ? flags.noCacheFilter.join(',') : undefined,
    ],
    ['image-resolve-mode', flags.pull ? 'pull' : undefined],
    ['add-hosts', flags.addHost.length > 0 ? flags.addHost.join(',') : undefined],
    ['force-network-mode', flags.network === 'default' ? undefined : flags.network],
    ['cgroup-parent', flags.cgroupParent || undefined],
    ['shm-size', flags.shmSize ? String(flags.shmSize) : undefined],
    [
      'ulimit',
      flags.ulimit.length > 0
        ? flags.ulimit.map(({ Name, Soft, Hard }) => `${Name}=${Soft}:${Hard}`).join(',')
        : undefined,
    ],
  ];
  return Object.fromEntries([
    ...given.filter((entry): entry is [string, string] => entry[1] !== undefined),
    ...prefixed('build-arg', args),
    ...prefixed('label', assignments(flags.label, {})),
  ]) as Record<string, string>;
}
