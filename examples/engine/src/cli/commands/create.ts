/** `tare create`: makes a container, with its image when that is missing. */
import { rmSync, statSync, writeFileSync } from 'node:fs';
import type { Cli } from '../cli.ts';
import { defineCommand } from '../command.ts';
import type { Credentials } from '../config-file.ts';
import { buildCreateRequest, type CreateRequest } from '../container-config.ts';
import { CliError, DaemonError, UsageError } from '../errors.ts';
import { withHelp } from '../help-hint.ts';
import { containerFlags, creationFlags, type ContainerFlags, type CreationFlags } from '../run-flags.ts';

/**
 * Creates a container, pulling its image first when that is missing and may be pulled.
 *
 * @returns the container's id
 */
export async function createContainer(
  cli: Cli,
  request: CreateRequest,
  flags: ContainerFlags & CreationFlags,
): Promise<string> {
  if (!['always', 'missing', 'never'].includes(flags.pull)) {
    throw new UsageError(
      `invalid pull option: '${flags.pull}': must be one of "always", "missing" or "never"`,
    );
  }
  await checkName(request.Image);
  const idFile = claimIdFile(flags.cidfile);
  let id = '';
  try {
    const secrets = flags.useApiSocket ? await shareApi(cli, request) : undefined;
    request.HostConfig.ConsoleSize = [cli.stdout.rows ?? 0, cli.stdout.columns ?? 0];
    if (flags.pull === 'always') await pull(cli, request.Image, flags);
    id = await create(cli, request, flags);
    if (secrets) await putSecrets(cli, id, secrets);
    if (flags.cidfile) writeFileSync(flags.cidfile, id);
    return id;
  } finally {
    if (id === '') idFile?.[Symbol.dispose]();
  }
}

/** Where the daemon's socket is in a container that may use it. */
const API_SOCKET = '/var/run/docker.sock';
const SECRETS = '/run/secrets/docker';

/** Lets the container use the daemon, as the user with these credentials. */
async function shareApi(cli: Cli, request: CreateRequest): Promise<Record<string, Credentials>> {
  const { endpoint } = cli.client;
  const source = endpoint.kind === 'unix' ? endpoint.socketPath : '/run/tare.sock';
  const mounts = (request.HostConfig['Mounts'] ?? []) as unknown[];
  request.HostConfig['Mounts'] = [...mounts, { Type: 'bind', Source: source, Target: API_SOCKET }];
  request['Env'] = [...((request['Env'] ?? []) as string[]), `DOCKER_CONFIG=${SECRETS}`];
  return cli.config.allCredentials();
}

async function putSecrets(cli: Cli, id: string, credentials: Record<string, Credentials>): Promise<void> {
  const [{ pack }, { asReadable }] = await Promise.all([import('tar-stream'), import('../build-context.ts')]);
  const archive = pack();
  const auths = Object.fromEntries(
    Object.entries(credentials).map(([key, { username = '', password = '', identitytoken }]) => [
      key,
      {
        auth: Buffer.from(`${username}:${password}`).toString('base64'),
        ...(identitytoken && { identitytoken }),
      },
    ]),
  );
  for (const directory of ['run', 'run/secrets', 'run/secrets/docker']) {
    archive.entry({ name: directory, type: 'directory', mode: 0o755 });
  }
  archive.entry({ name: 'run/secrets/docker/config.json', mode: 0o600 }, JSON.stringify({ auths }));
  archive.finalize();
  await cli.client.text('PUT', `/containers/${id}/archive`, {
    query: { path: '/' },
    headers: { 'Content-Type': 'application/x-tar' },
    body: asReadable(archive),
  });
}

async function create(
  cli: Cli,
  request: CreateRequest,
  flags: ContainerFlags & CreationFlags,
): Promise<string> {
  const platform = flags.platform || cli.environment['DOCKER_DEFAULT_PLATFORM'];
  const send = (): Promise<{ Id: string; Warnings: string[] | null }> =>
    cli.client.json('POST', '/containers/create', { query: { name: flags.name, platform }, json: request });
  let created: Awaited<ReturnType<typeof send>>;
  try {
    created = await send();
  } catch (error) {
    if (!isMissingImage(error) || flags.pull !== 'missing') throw error;
    const { parseImageName } = await import('../values/image-name.ts');
    if (!flags.quiet) cli.warn(`Unable to find image '${parseImageName(request.Image).familiar}' locally`);
    await pull(cli, request.Image, flags);
    created = await send();
  }
  for (const warning of created.Warnings ?? []) cli.warn(`WARNING: ${warning}`);
  return created.Id;
}

/** The daemon would refuse these too; most names need no second look, and the grammar is not loaded for them. */
async function checkName(image: string): Promise<void> {
  if (/^[a-z0-9][a-z0-9_./@:-]*$/.test(image)) return;
  const { parseImageName } = await import('../values/image-name.ts');
  parseImageName(image);
}

function isMissingImage(error: unknown): boolean {
  return error instanceof DaemonError && error.status === 404;
}

/** Progress goes to stderr: stdout is for the container, or its id. */
async function pull(cli: Cli, image: string, flags: CreationFlags): Promise<void> {
  const [{ pullImage }, { parseImageName }] = await Promise.all([
    import('./pull.ts'),
    import('../values/image-name.ts'),
  ]);
  const progress = { out: cli.stderr, mode: flags.quiet ? ('quiet' as const) : ('auto' as const) };
  await pullImage(cli, parseImageName(image), { platform: flags.platform, progress });
}

/** Reserves `--cidfile` before the container exists; disposed, it is gone again. */
function claimIdFile(path: string): Disposable | undefined {
  if (path === '') return undefined;
  if (statSync(path, { throwIfNoEntry: false })) {
    throw new UsageError(
      `container ID file found, make sure the other container isn't running or delete ${path}`,
    );
  }
  try {
    writeFileSync(path, '', { flag: 'wx' });
  } catch (cause) {
    throw new CliError(`failed to create the container ID file: ${String(cause)}`, { cause });
  }
  return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
}

/** What the words after `create` or `run` ask for. @throws {CliError} that leads to the command's help */
export function requestOf(
  name: 'create' | 'run',
  cli: Cli,
  asked: { flags: ContainerFlags; given: ReadonlySet<string>; args: readonly string[] },
): CreateRequest {
  const { environment, workingDirectory, proxyVariables } = cli;
  try {
    return buildCreateRequest(asked.flags, asked.given, asked.args, {
      environment,
      workingDirectory,
      proxyVariables,
    });
  } catch (error) {
    throw withHelp(error, name, 125);
  }
}

/** `create`. */
export const command = defineCommand({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  summary: 'Create a new container',
  args: { min: 1, max: Infinity },
  stopsAtArgument: true,
  flags: { ...containerFlags, ...creationFlags },
  async run({ cli, flags, given, args }) {
    cli.print(await createContainer(cli, requestOf('create', cli, { flags, given, args }), flags));
  },
});
