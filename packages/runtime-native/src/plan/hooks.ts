/** Hooks of the container's namespaces as operations, and the state that every hook reads from its stdin. */
import type { ContainerStatus } from '../runtime.ts';
import type { HookKind, HookSpec, Spec } from '../spec/config.ts';
import type { Operation } from './operations.ts';

/** What hooks are told of their container besides its pid and its status. */
export interface HookSubject {
  id: string;
  /** Absolute. */
  bundle: string;
}

/** The hooks of a kind that a spec has. */
export function hooksOf(spec: Spec, kind: HookKind): readonly HookSpec[] {
  return spec.hooks?.[kind] ?? [];
}

/** The argument list of a hook, its name first. */
export function argumentsOf({ path, args = [] }: HookSpec): readonly string[] {
  return args.length > 0 ? args : [path];
}

/** Milliseconds that a hook may take; undefined without a limit. */
export function timeoutOf({ timeout }: HookSpec): number | undefined {
  return timeout === undefined ? undefined : timeout * 1000;
}

/** The state that the runtime spec describes, as JSON. `pid` is left out when it is 0. */
export function stateDocument(
  spec: Spec,
  { id, bundle }: HookSubject,
  status: ContainerStatus,
  pid: number,
): string {
  const { ociVersion, annotations = {} } = spec;
  return JSON.stringify({ ociVersion, id, status, bundle, annotations, pid: pid || undefined });
}

/** The same without its end, so that the helper, which knows the pid, can put it there. */
export function stateHead(spec: Spec, subject: HookSubject, status: ContainerStatus): string {
  return `${stateDocument(spec, subject, status, 0).slice(0, -1)},"pid":`;
}

/** Whether hooks run between the making of the root file system and the pivot. */
export function hooksBeforePivot(spec: Spec): boolean {
  return (['prestart', 'createRuntime', 'createContainer'] as const).some(
    (kind) => hooksOf(spec, kind).length > 0,
  );
}

function* operations(
  name: 'CREATE_HOOK' | 'START_HOOK',
  hooks: readonly HookSpec[],
  state: string,
): Generator<Operation> {
  for (const [index, hook] of hooks.entries()) {
    yield [name, index, hook.path, argumentsOf(hook), hook.env ?? [], state, timeoutOf(hook) ?? 0];
  }
}

/** Whether the maker has something to do once the namespaces are there: devices, groups of the processor, hooks. */
function needsMaker(spec: Spec): boolean {
  const { netDevices = {}, intelRdt } = spec.linux ?? {};
  return Object.keys(netDevices).length > 0 || intelRdt !== undefined || hasRuntimeHooks(spec);
}

/** Hooks that the maker runs while the container is being made. */
export function hasRuntimeHooks(spec: Spec): boolean {
  return hooksOf(spec, 'prestart').length + hooksOf(spec, 'createRuntime').length > 0;
}

/** Everything that happens right before the pivot: the wait for the caller's own hooks, then the container's. */
export function* createHookOperations(spec: Spec, subject: HookSubject): Generator<Operation> {
  if (needsMaker(spec)) yield ['RUNTIME_HOOKS'];
  yield* operations('CREATE_HOOK', hooksOf(spec, 'createContainer'), stateHead(spec, subject, 'creating'));
}

/** After the gate, before the program. */
export function startHookOperations(spec: Spec, subject: HookSubject): Iterable<Operation> {
  return operations('START_HOOK', hooksOf(spec, 'startContainer'), stateHead(spec, subject, 'created'));
}
