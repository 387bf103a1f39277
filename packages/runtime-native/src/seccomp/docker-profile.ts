/**
 * Profiles in Docker's format: the runtime spec's, with rules that depend on the machine, the kernel and the
 * capabilities (`includes`, `excludes`, `archMap`). Resolving one makes a profile of the runtime spec.
 */
import { readFileSync } from 'node:fs';

import { z } from 'zod';

import { RuntimeError } from '../errors.ts';
import { seccompSchema } from '../spec/index.ts';
import type { LinuxSeccomp } from '../spec/index.ts';

const filterSchema = z.object({
  caps: z.array(z.string()).nullish(),
  arches: z.array(z.string()).nullish(),
  minKernel: z
    .string()
    .regex(/^\d+\.\d+$/, 'must look like 4.8')
    .nullish(),
});

const specRule = seccompSchema.shape.syscalls.unwrap().element;

const profileSchema = z.object({
  ...seccompSchema.omit({ syscalls: true, architectures: true }).shape,
  architectures: z.array(z.string()).nullish(),
  archMap: z
    .array(z.object({ architecture: z.string(), subArchitectures: z.array(z.string()).nullish() }))
    .nullish(),
  syscalls: z
    .array(
      z.object({
        name: z.string().optional(),
        names: z.array(z.string()).nullish(),
        action: specRule.shape.action,
        errnoRet: specRule.shape.errnoRet.nullable(),
        args: specRule.shape.args.nullable(),
        includes: filterSchema.nullish(),
        excludes: filterSchema.nullish(),
      }),
    )
    .nullish(),
});

/** What the rules may depend on. */
export interface ResolveSeccompOptions {
  /** Names (`CAP_…`) of the capabilities that the process will have. Default: none. */
  capabilities?: readonly string[];
  /** The machine, as `process.arch` has it. Default: this one. */
  arch?: string;
  /** Version of the kernel, for example `'6.1'`. Default: the running one. */
  kernel?: string;
}

/** Names of architectures: in Docker's rules, and in the runtime spec. */
const MACHINES: Readonly<Record<string, readonly [docker: string, spec: string]>> = {
  x64: ['amd64', 'SCMP_ARCH_X86_64'],
  arm64: ['arm64', 'SCMP_ARCH_AARCH64'],
};

/**
 * Reads a profile in Docker's JSON format, as `--security-opt seccomp=<file>` sends it, and resolves it.
 *
 * @throws {RuntimeError} `INVALID_SPEC` for text that is not JSON or not a profile
 */
export function parseSeccompProfile(text: string, options: ResolveSeccompOptions = {}): LinuxSeccomp {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new RuntimeError('INVALID_SPEC', `the seccomp profile is not JSON: ${(error as Error).message}`, {
      cause: error,
      field: 'linux.seccomp',
    });
  }
  const result = profileSchema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    const where = issue?.path.join('.') || 'the document';
    throw invalid(`${where}: ${issue?.message}`, result.error);
  }
  const { archMap, architectures, syscalls, ...rest } = result.data;
  if (archMap?.length && architectures?.length)
    throw invalid("'architectures' and 'archMap' exclude each other");

  const { arch = process.arch, capabilities = [] } = options;
  const [docker, spec] = MACHINES[arch] ?? [arch, undefined];
  const mapped = archMap?.find(({ architecture }) => architecture === spec);
  const profile: LinuxSeccomp = {
    ...rest,
    architectures: mapped ? [mapped.architecture, ...(mapped.subArchitectures ?? [])] : (architectures ?? []),
    syscalls: [],
  };
  const kernel = options.kernel ?? readFileSync('/proc/sys/kernel/osrelease', 'utf8');
  for (const { name, names, action, errnoRet, args, includes, excludes } of syscalls ?? []) {
    if (name && names?.length) throw invalid("'name' and 'names' exclude each other");
    if (includes?.arches?.length && !includes.arches.includes(docker)) continue;
    if (includes?.caps?.some((capability) => !capabilities.includes(capability))) continue;
    if (includes?.minKernel && !atLeast(kernel, includes.minKernel)) continue;
    if (excludes?.arches?.includes(docker)) continue;
    if (excludes?.caps?.some((capability) => capabilities.includes(capability))) continue;
    if (excludes?.minKernel && atLeast(kernel, excludes.minKernel)) continue;
    const rule = { names: names?.length ? names : name ? [name] : [], action };
    if (rule.names.length === 0) throw invalid('a rule without names');
    profile.syscalls!.push({
      ...rule,
      ...(errnoRet == null ? {} : { errnoRet }),
      ...(args?.length ? { args } : {}),
    });
  }
  return profile;
}

function atLeast(kernel: string, minimum: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  const [minMajor = 0, minMinor = 0] = minimum.split('.').map(Number);
  return major > minMajor || (major === minMajor && minor >= minMinor);
}

function invalid(message: string, cause?: unknown): RuntimeError {
  return new RuntimeError('INVALID_SPEC', `the seccomp profile is malformed: ${message}`, {
    field: 'linux.seccomp',
    ...(cause === undefined ? {} : { cause }),
  });
}
