/** No network: a sandbox that can talk to itself and to nobody else. */

import type { NetworkKernel } from './kernel.ts';
import { nativeKernel } from './native-kernel.ts';
import { Sandbox } from './sandbox.ts';

/**
 * Brings up `lo` in the network namespace that is bound to `sandbox`: all there is to the mode `none`. Sandboxes that a
 * driver attaches need no call of it.
 *
 * @throws {NetworkError} `NOT_FOUND` when no namespace is bound to the path
 */
export async function bringUpLoopback(
  sandbox: string,
  options?: { signal?: AbortSignal; kernel?: NetworkKernel },
): Promise<void> {
  options?.signal?.throwIfAborted();
  using opened = await Sandbox.open(options?.kernel ?? nativeKernel(), sandbox, { ready: false });
  await opened.bringUpLoopback();
}
