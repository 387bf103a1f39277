/** Where the listener of a filter with notifications goes, and what is said along with it. */
import { notifies } from '../seccomp/compile.ts';
import type { ContainerStatus } from '../runtime.ts';
import type { Spec } from '../spec/config.ts';
import { stateHead } from './hooks.ts';
import type { HookSubject } from './hooks.ts';
import type { Operation } from './operations.ts';
import { invalid } from './validate.ts';

/** `sun_path` holds 108 bytes with the closing NUL. */
const SOCKET_PATH_MAX_BYTES = 107;

/**
 * The operation that hands the listener over, for a filter that needs one.
 *
 * @param containerPid the container's process when the filter is that of another one in there; 0 when it is its own
 * @throws {RuntimeError} `INVALID_SPEC` when nobody is named to hand it to
 */
export function* listenerOperations(
  spec: Spec,
  subject: HookSubject,
  status: ContainerStatus,
  containerPid: number,
): Generator<Operation> {
  const { seccomp } = spec.linux ?? {};
  const { listenerPath, listenerMetadata: metadata } = seccomp ?? {};
  if (metadata !== undefined && listenerPath === undefined)
    throw invalid('linux.seccomp.listenerMetadata', 'goes with a listenerPath, and there is none');
  if (!seccomp || !notifies(seccomp)) return;
  if (listenerPath === undefined)
    throw invalid(
      'linux.seccomp.listenerPath',
      'is missing: SCMP_ACT_NOTIFY asks somebody who listens there',
    );
  if (Buffer.byteLength(listenerPath) > SOCKET_PATH_MAX_BYTES)
    throw invalid(
      'linux.seccomp.listenerPath',
      `is longer than the ${SOCKET_PATH_MAX_BYTES} bytes a socket can have`,
    );
  const { ociVersion } = spec;
  const document = JSON.stringify({ ociVersion, fds: ['seccompFd'], metadata });
  const state = stateHead(spec, subject, status);
  yield ['SECCOMP_LISTENER', listenerPath, `${document.slice(0, -1)},"state":${state}`, containerPid];
}
