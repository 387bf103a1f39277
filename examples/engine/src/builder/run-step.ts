/** RUN: a command on a stage's file system; what it changes is the layer. */
import { messageOf } from '../errors.ts';
import type { NewLayer } from '../images/create.ts';
import { command, type WordContext } from './dockerfile/config-instructions.ts';
import { DockerfileError, type Place } from './dockerfile/errors.ts';
import { platformObstacle } from './emulation.ts';
import type { Instruction } from './dockerfile/parser.ts';
import type { StepOutput } from './output.ts';
import type { BuildSecrets, Entitlement, RunLimits } from './request.ts';
import { commandMounts, parseMount, type RunMount, type SourceOf } from './run-mounts.ts';
import type { SolverParts } from './seams.ts';
import type { StageState } from './state.ts';

/** A command that ended with something else than 0. */
export class RunFailed extends Error {
  readonly exitCode: number;
  /** What was run, its arguments joined by spaces. */
  readonly commandLine: string;
  readonly place: Place;

  constructor(commandLine: string, exitCode: number, place: Place) {
    super(`The command '${commandLine}' returned a non-zero code: ${exitCode}`);
    this.exitCode = exitCode;
    this.commandLine = commandLine;
    this.place = place;
  }
}
Object.defineProperty(RunFailed.prototype, 'name', { value: 'RunFailed', writable: true });

/** A RUN as it will be run. */
export interface RunRequest {
  instruction: Instruction;
  argv: readonly string[];
  mounts: readonly RunMount[];
  network: 'default' | 'none' | 'host';
  insecure: boolean;
  /** Variables of this command alone: arguments of the build. */
  env: readonly string[];
  /** The same, but no part of the key. */
  proxies: readonly string[];
}

/** What a RUN is read with. */
export interface RunWords {
  env: readonly string[];
  proxies: readonly string[];
  words: WordContext;
  /** Directories of cache mounts are shared within one. */
  cacheNamespace: string | undefined;
  entitlements: readonly Entitlement[];
}

const NETWORKS = ['default', 'none', 'host'] as const;

/** Reads the instruction. @throws {DockerfileError} */
export function parseRun(instruction: Instruction, state: StageState, options: RunWords): RunRequest {
  const { env, proxies, words, cacheNamespace, entitlements } = options;
  const request = {
    instruction,
    argv: argvOf(instruction, state),
    mounts: [] as RunMount[],
    network: 'default' as RunRequest['network'],
    insecure: false,
    env,
    proxies,
  };
  const need = (entitlement: Entitlement, flag: string): void => {
    if (entitlements.includes(entitlement)) return;
    throw new DockerfileError(`${flag} is not allowed: give the build --allow ${entitlement}`, instruction);
  };
  for (const { name, value = '' } of instruction.flags) {
    switch (name) {
      case 'mount':
        request.mounts.push(parseMount(instruction, value, words, cacheNamespace));
        break;
      case 'network': {
        const network = NETWORKS.find((one) => one === value);
        if (network === undefined) {
          throw new DockerfileError(`unsupported network mode ${JSON.stringify(value)}`, instruction);
        }
        if (network === 'host') need('network.host', '--network=host');
        request.network = network;
        break;
      }
      case 'security':
        if (value !== 'sandbox' && value !== 'insecure') {
          throw new DockerfileError(`security ${JSON.stringify(value)} is not valid`, instruction);
        }
        if (value === 'insecure') need('security.insecure', '--security=insecure');
        request.insecure = value === 'insecure';
        break;
      case 'device':
        throw new DockerfileError(
          `--device=${value}: no devices of the Container Device Interface are known here`,
          instruction,
        );
      default:
        throw new DockerfileError(`unknown flag: --${name}`, instruction);
    }
  }
  return request;
}

function argvOf(instruction: Instruction, { config }: StageState): string[] {
  const [heredoc, ...more] = instruction.heredocs;
  if (heredoc === undefined) {
    const argv = command(instruction, config);
    if (argv.length === 0) throw new DockerfileError('RUN requires at least one argument', instruction);
    return argv;
  }
  // alone on the line it is the script, which may name its interpreter; else it is the shell's to read
  const alone = more.length === 0 && /^<<-?(?:"[^"]*"|'[^']*'|\S+)$/.test(instruction.args);
  if (!alone) {
    const bodies = instruction.heredocs.map(({ name, content }) => `${content}${name}`);
    return command(instruction, config, [instruction.args, ...bodies].join('\n'));
  }
  const [, interpreter] = /^#!\s*(\S.*)\n/.exec(heredoc.content) ?? [];
  if (interpreter === undefined) return command(instruction, config, heredoc.content);
  return [...interpreter.trim().split(/\s+/), '-c', heredoc.content];
}

/** What a RUN's result depends on, besides the file system it starts from. */
export function runKey(request: RunRequest, { config }: StageState): unknown {
  return {
    argv: request.argv,
    env: [...(config.Env ?? []), ...request.env],
    user: config.User ?? '',
    cwd: config.WorkingDir ?? '',
    network: request.network,
    // what is in a cache or a secret is no part of it
    mounts: request.mounts.map(({ type, target, source, from, id }) => ({ type, target, source, from, id })),
    ...(request.insecure ? { insecure: true } : {}),
  };
}

/** What a run needs of the build around it. */
export interface RunPlace {
  limits: RunLimits;
  output: StepOutput;
  sourceOf: SourceOf;
  secrets: BuildSecrets | undefined;
  /** Default: the executor's choice. */
  hostname: string | undefined;
  /** Files are not later than this. */
  epochNs: bigint | undefined;
  title: string;
  signal: AbortSignal;
}

/** Runs the command and makes its layer. @throws {RunFailed} */
export async function runStep(
  parts: Pick<SolverParts, 'executor' | 'cache' | 'trees' | 'directory'>,
  request: RunRequest,
  { config, layers, chain, platform }: StageState,
  place: RunPlace,
): Promise<NewLayer> {
  const { output, signal, limits, title } = place;
  await using held = new AsyncDisposableStack();
  const { mounts, env } = await commandMounts(parts, request, place, held);
  const running = parts.executor.run(
    {
      argv: request.argv,
      env: [...(config.Env ?? []), ...request.env, ...request.proxies],
      secretEnv: env,
      user: config.User ?? '',
      workingDirectory: config.WorkingDir ?? '',
      layers,
      chain,
      platform,
      mounts,
      network: request.network,
      insecure: request.insecure,
      hostname: place.hostname,
      maxMtimeNs: place.epochNs,
      limits,
      title,
    },
    { output, signal },
  );
  const { exitCode, layer } = await running.catch((error: unknown) => {
    throw foreignProgram(error, platform, request.instruction) ?? error;
  });
  if (layer === undefined) throw new RunFailed(request.argv.join(' '), exitCode, request.instruction);
  return layer;
}

/** What is wrong when a program cannot be executed because it is another machine's. */
function foreignProgram(
  error: unknown,
  platform: StageState['platform'],
  instruction: Instruction,
): DockerfileError | undefined {
  if (!messageOf(error).includes('exec format error')) return undefined;
  const obstacle = platformObstacle(platform);
  return obstacle === undefined ? undefined : new DockerfileError(obstacle, instruction, { cause: error });
}
