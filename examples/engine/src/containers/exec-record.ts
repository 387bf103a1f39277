/** One exec: what a client asks for, what is known of it, how it is shown. */
import type { ExecProcess } from '@tare/runtime-native';
import { z } from 'zod';

import { commandLine, integer } from './go-values.ts';
import type { LiveContainer } from './store.ts';

/** Body of `POST /containers/{id}/exec`. */
export const execCreateSchema = z.object({
  User: z.string().optional(),
  Privileged: z.boolean().optional(),
  Tty: z.boolean().optional(),
  ConsoleSize: z.array(integer).optional(),
  AttachStdin: z.boolean().optional(),
  AttachStdout: z.boolean().optional(),
  AttachStderr: z.boolean().optional(),
  DetachKeys: z.string().optional(),
  Env: z.array(z.string()).optional(),
  WorkingDir: z.string().optional(),
  Cmd: commandLine.optional(),
});
/** Body of `POST /containers/{id}/exec`. */
export type ExecCreateRequest = z.infer<typeof execCreateSchema>;

/** Body of `POST /exec/{id}/start`. */
export const execStartSchema = z.object({
  Detach: z.boolean().optional(),
  Tty: z.boolean().optional(),
  ConsoleSize: z.array(integer).optional(),
});
/** Body of `POST /exec/{id}/start`. */
export type ExecStartRequest = z.infer<typeof execStartSchema>;

/** One exec, from its creation until some time after its end. */
export interface Exec {
  id: string;
  container: LiveContainer;
  request: ExecCreateRequest;
  /** Set by the start. */
  started: boolean;
  running: boolean;
  /** Null until it has ended. */
  exitCode: number | null;
  pid: number;
  process: ExecProcess | undefined;
  endedAtMs: number | undefined;
}

/** One that was asked for. */
export function newExec(id: string, container: LiveContainer, request: ExecCreateRequest): Exec {
  return {
    id,
    container,
    request,
    started: false,
    running: false,
    exitCode: null,
    pid: 0,
    process: undefined,
    endedAtMs: undefined,
  };
}

/** As `GET /exec/{id}/json` shows it. */
export function renderExec(exec: Exec): unknown {
  const { request } = exec;
  const [entrypoint = '', ...args] = request.Cmd ?? [];
  return {
    ID: exec.id,
    Running: exec.running,
    ExitCode: exec.exitCode,
    ProcessConfig: {
      tty: request.Tty ?? false,
      entrypoint,
      arguments: args,
      privileged: request.Privileged ?? false,
      ...(request.User ? { user: request.User } : {}),
    },
    OpenStdin: request.AttachStdin ?? false,
    OpenStderr: request.AttachStderr ?? false,
    OpenStdout: request.AttachStdout ?? false,
    CanRemove: false,
    ContainerID: exec.container.id,
    DetachKeys: request.DetachKeys ?? '',
    Pid: exec.pid,
  };
}
