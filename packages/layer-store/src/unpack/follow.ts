/** Unpacks a blob on a thread while it is being written. */
import { closeSync } from 'node:fs';
import { raceAbort } from '../abort.ts';
import type { AppliedLayer } from '../apply.ts';
import type { ArrivingBlob } from '../content/arriving.ts';
import type { UnpackJob } from './protocol.ts';
import type { UnpackWorkers } from './workers.ts';

/** The blob that was being unpacked did not arrive, for the reason that is its `cause`; another attempt may be made. */
export class BrokenArrival extends Error {}

/**
 * Unpacks a blob while it is written, and returns when it has been found to be what it should be.
 *
 * @throws {BrokenArrival} and what unpacking throws, of a blob that arrived
 */
export async function follow(
  workers: UnpackWorkers,
  arriving: ArrivingBlob,
  job: Omit<UnpackJob, 'fd' | 'grows'>,
  signal: AbortSignal,
  onProgress: (bytesRead: number) => void,
): Promise<AppliedLayer> {
  const broken = new AbortController();
  arriving.arrived.catch((error: unknown) => broken.abort(error));
  try {
    using file = openFile(() => arriving.open());
    const both = AbortSignal.any([signal, broken.signal]);
    const applied = await workers.apply({ ...job, fd: file.fd, grows: true }, arriving, both, onProgress);
    await arrived(arriving, signal);
    return applied;
  } catch (error) {
    signal.throwIfAborted();
    // wrong bytes explain whatever was found in them
    await arrived(arriving, signal);
    throw error;
  }
}

/** Waits for a blob. @throws {BrokenArrival} */
export async function arrived(arriving: ArrivingBlob, signal: AbortSignal): Promise<void> {
  try {
    await raceAbort(arriving.arrived, signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new BrokenArrival('a blob did not arrive', { cause });
  }
}

/** A descriptor that is closed with the scope. */
export function openFile(open: () => number): Disposable & { fd: number } {
  const fd = open();
  return { fd, [Symbol.dispose]: () => closeSync(fd) };
}
