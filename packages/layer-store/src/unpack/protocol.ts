/** What the threads that unpack layers and the one that asks them tell each other. */
import type { Digest } from '@tare/image-spec/digest';
import type { AppliedLayer, ApplyOptions } from '../apply.ts';
import type { LayerStoreErrorCode } from '../errors.ts';

/** A layer to unpack: options of `applyLayer` that are data, the archive as an open file. */
export interface UnpackJob extends Omit<ApplyOptions, 'fs' | 'signal' | 'onProgress' | 'diffId'> {
  /** Closed by who gave it, when the job has ended. */
  fd: number;
  /** Whether the file is not whole yet: how much there is comes with `grown`. */
  grows: boolean;
  directory: string;
  diffId: Digest;
}

/** To a worker; it has one job at a time. `grown`: how many bytes a growing file has now, and whether that is all. */
export type Request =
  | { kind: 'unpack'; job: UnpackJob }
  | { kind: 'grown'; bytes: number; whole: boolean }
  | { kind: 'abort' };

/** From a worker. */
export type Reply =
  | { kind: 'progress'; bytesRead: number }
  | { kind: 'done'; applied: AppliedLayer }
  | { kind: 'failed'; error: PlainError };

/** An error as it crosses threads: structured cloning keeps neither its class nor its fields. */
export interface PlainError {
  /** Of a `LayerStoreError`; undefined for any other. */
  code: LayerStoreErrorCode | undefined;
  message: string;
  entry: string | undefined;
  /** Kept by cloning as far as it can be. */
  cause: unknown;
}
