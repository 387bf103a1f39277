/** RUN: a command in a container on a stage's file system; what it changes is the layer. */
import { Duplex } from 'node:stream';

import type { HostConfig } from '../containers/host-config.ts';
import { EngineError } from '../errors.ts';
import { API_VERSION } from '../http/api-version.ts';
import { createImage, type NewLayer } from '../images/create.ts';
import { removeInternalImage } from '../images/remove.ts';
import type { Job } from '../jobs/job.ts';
import { command, type WordContext } from './dockerfile/config-instructions.ts';
import { DockerfileError, type Place } from './dockerfile/errors.ts';
import type { Instruction } from './dockerfile/parser.ts';
import { containerMounts, parseMount, type RunMount, type SourceOf } from './run-mounts.ts';
import type { BuildParts, BuildSecrets, StageState, StepOutput } from './state.ts';

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
  /** Variables of this command alone: arguments of the build. */
  env: readonly string[];
}

/** Limits and surroundings of every RUN of a build. */
export type RunLimits = Pick<
  HostConfig,
  | 'Memory'
  | 'MemorySwap'
  | 'CpuShares'
  | 'CpuPeriod'
  | 'CpuQuota'
  | 'CpusetCpus'
  | 'CpusetMems'
  | 'CgroupParent'
  | 'ShmSize'
  | 'Ulimits'
  | 'ExtraHosts'
  | 'NetworkMode'
>;

const RUN_FLAGS = new Set(['mount', 'network', 'security']);

/** Reads the instruction. @throws {DockerfileError} */
export function parseRun(
  instruction: Instruction,
  state: StageState,
  env: readonly string[],
  words: WordContext,
): RunRequest {
  const mounts: RunMount[] = [];
  let network: RunRequest['network'] = 'default';
  for (const { name, value = '' } of instruction.flags) {
    if (!RUN_FLAGS.has(name)) throw new DockerfileError(`unknown flag: --${name}`, instruction);
    if (name === 'mount') mounts.push(parseMount(instruction, value, words));
    else if (name === 'network') {
      if (value !== 'default' && value !== 'none' && value !== 'host') {
        throw new DockerfileError(`unsupported network mode ${JSON.stringify(value)}`, instruction);
      }
      network = value;
    } else if (value !== 'sandbox') {
      throw new DockerfileError(
        `--security=${value} needs the entitlement security.insecure, which this builder does not give`,
        instruction,
      );
    }
  }
  return { instruction, argv: argvOf(instruction, state), mounts, network, env };
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
  };
}

/** What a run needs of the build around it. */
export interface RunPlace {
  limits: RunLimits;
  job: Job;
  output: StepOutput;
  sourceOf: SourceOf;
  secrets: BuildSecrets | undefined;
}

/** Runs the command and makes its layer. @throws {RunFailed} */
export async function runStep(
  parts: BuildParts,
  request: RunRequest,
  state: StageState,
  place: RunPlace,
): Promise<NewLayer> {
  const { images, containers } = parts;
  const { job } = place;
  const { signal } = job;
  const { User, WorkingDir, Env } = state.config;
  // a container is always one of an image: this is the stage so far, which no client is to see
  const config = {
    ...state.platform,
    config: {
      ...(Env ? { Env } : {}),
      ...(User === undefined ? {} : { User }),
      ...(WorkingDir === undefined ? {} : { WorkingDir }),
    },
  };
  const known = new Set(images.table.list().map(({ id }) => id));
  const image = await createImage(images, parts.unpacker, { layers: state.layers, config }, signal);
  let container: string | undefined;
  try {
    await using locks = new AsyncDisposableStack();
    const { mounts, mountPoints, env } = await containerMounts(parts, request, place, locks);
    const host: HostConfig = { ...place.limits, Mounts: mounts };
    if (request.network !== 'default') host.NetworkMode = request.network;
    const created = await containers.create({
      request: {
        Image: image,
        Entrypoint: [request.argv[0]!],
        Cmd: request.argv.slice(1),
        Env: [...request.env, ...env],
        HostConfig: host,
      },
      name: '',
      platform: '',
      apiVersion: API_VERSION,
      job,
    });
    container = created.id;
    place.output.say(` ---> Running in ${container.slice(0, 12)}`);
    const exit = containers.wait(container, 'next-exit', signal);
    // its rejection is awaited below, or nobody's concern once the start has failed
    exit.catch(() => undefined);
    const copied = containers.attach(container, attachOptions(signal), () =>
      Promise.resolve({ duplex: sink(place.output), upgraded: true }),
    );
    await containers.start(container);
    const { exitCode } = await exit;
    await copied;
    if (exitCode !== 0) throw new RunFailed(request.argv.join(' '), exitCode, request.instruction);
    return await containers.holdStill(
      containers.find(container),
      { pause: false, mountPoints },
      ({ key, without }) => parts.layers.createLayer(key, { without, signal }),
    );
  } finally {
    if (container !== undefined) await removeContainer(parts, container);
    if (!known.has(image)) await removeInternalImage(images, image);
  }
}

function attachOptions(signal: AbortSignal) {
  return {
    stdin: false,
    stdout: true,
    stderr: true,
    logs: false,
    stream: true,
    raw: true,
    detachKeys: '',
    signal,
  };
}

async function removeContainer({ containers }: BuildParts, id: string): Promise<void> {
  try {
    await containers.remove(id, { force: true, volumes: true });
  } catch (error) {
    // somebody else removed it
    if (!(error instanceof EngineError && error.code === 'NOT_FOUND')) throw error;
  }
}

/** A connection that only takes. */
function sink(output: StepOutput): Duplex {
  return new Duplex({
    read() {
      // nothing is ever sent to the container
    },
    write(chunk: Buffer, _encoding, done) {
      output.write(chunk);
      done();
    },
  });
}
