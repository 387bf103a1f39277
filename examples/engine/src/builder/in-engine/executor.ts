/** RUN in the engine: a container like any other, on an image that no client sees. Both go with the step. */
import { Duplex } from 'node:stream';

import type { HostConfig } from '../../containers/host-config.ts';
import { EngineError } from '../../errors.ts';
import { API_VERSION } from '../../http/api-version.ts';
import { createImage } from '../../images/create.ts';
import { removeInternalImage } from '../../images/remove.ts';
import type { Job } from '../../jobs/job.ts';
import type { StepOutput } from '../output.ts';
import type { Command, CommandMount, CommandResult, Executor } from '../seams.ts';
import type { BuildParts } from './parts.ts';

/** @param job - of the build: commands are jobs below it, and go with it */
export function containerExecutor(parts: BuildParts, job: Job): Executor {
  return {
    run: (command, { output, signal }) =>
      parts.jobs.run('build.run', (own) => run(parts, command, output, own), {
        parent: job,
        signal,
        subject: command.title,
      }),
  };
}

async function run(
  parts: BuildParts,
  command: Command,
  output: StepOutput,
  job: Job,
): Promise<CommandResult> {
  const { images, containers } = parts;
  const { signal } = job;
  const known = new Set(images.table.list().map(({ id }) => id));
  const image = await hiddenImage(parts, command, signal);
  let container: string | undefined;
  try {
    const [program, ...args] = command.argv;
    const created = await containers.create({
      request: {
        Image: image,
        Entrypoint: [program!],
        Cmd: args,
        ...(command.hostname === undefined ? {} : { Hostname: command.hostname }),
        HostConfig: hostConfigOf(command),
      },
      name: '',
      platform: '',
      apiVersion: API_VERSION,
      job,
    });
    container = created.id;
    output.say(` ---> Running in ${container.slice(0, 12)}`);
    const exit = containers.wait(container, 'next-exit', signal);
    // its rejection is awaited below, or nobody's concern once the start has failed
    exit.catch(() => undefined);
    const copied = containers.attach(container, { ...ATTACHED, signal }, () =>
      Promise.resolve({ duplex: sink(output), upgraded: true }),
    );
    await containers.start(container, { lentEnv: command.secretEnv });
    const { exitCode } = await exit;
    await copied;
    if (exitCode !== 0) return { exitCode, layer: undefined };
    const layer = await containers.holdStill(
      containers.find(container),
      { pause: false, mountPoints: command.mounts.map(({ target }) => target) },
      ({ key, without }) =>
        parts.layers.commitLayer(key, {
          without,
          maxMtimeNs: command.maxMtimeNs,
          compression: 'none',
          signal,
        }),
    );
    return { exitCode, layer };
  } finally {
    if (container !== undefined) await removeContainer(parts, container);
    if (!known.has(image)) await removeInternalImage(images, image);
  }
}

/** A container is always one of an image: this is the stage so far. */
function hiddenImage(
  { images, unpacker }: BuildParts,
  { platform, env, user, workingDirectory, layers }: Command,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof createImage>>> {
  const { architecture, os, variant } = platform;
  const config = {
    architecture,
    os,
    ...(variant === undefined ? {} : { variant }),
    config: {
      Env: [...env],
      ...(user === '' ? {} : { User: user }),
      ...(workingDirectory === '' ? {} : { WorkingDir: workingDirectory }),
    },
  };
  return createImage(images, unpacker, { layers, config }, signal);
}

function hostConfigOf({ limits, mounts, network, insecure }: Command): HostConfig {
  const host: HostConfig = {
    ...limits,
    Mounts: mounts.map(containerMount),
    // what it writes goes to the client; it is nobody's to read later
    LogConfig: { Type: 'none' },
  };
  if (network !== 'default') host.NetworkMode = network;
  if (insecure) host.Privileged = true;
  return host;
}

function containerMount(mount: CommandMount): NonNullable<HostConfig['Mounts']>[number] {
  if (mount.type === 'bind') {
    return { Type: 'bind', Source: mount.source, Target: mount.target, ReadOnly: mount.readOnly };
  }
  const { target, sizeBytes } = mount;
  const options = sizeBytes === undefined ? {} : { TmpfsOptions: { SizeBytes: sizeBytes } };
  return { Type: 'tmpfs', Target: target, ...options };
}

const ATTACHED = {
  stdin: false,
  stdout: true,
  stderr: true,
  logs: false,
  stream: true,
  raw: true,
  detachKeys: '',
};

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
