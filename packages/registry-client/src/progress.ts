/** What a transfer tells while it runs. */
import type { Descriptor } from '@tare/image-spec';

/** One piece of news of one blob or manifest. */
export interface TransferEvent {
  /**
   * `start`: bytes begin to move. `progress`: some moved. `retry`: a failure that passes, trying again after
   * `delayMs`; `transferredBytes` is where a download goes on. `done`: moved and verified. `exists`: the registry had
   * it. `mounted`: the registry took it from another of its repositories.
   */
  kind: 'start' | 'progress' | 'retry' | 'done' | 'exists' | 'mounted';
  direction: 'pull' | 'push';
  descriptor: Descriptor;
  transferredBytes: number;
  totalBytes: number;
  /** The host that serves, a mirror or the registry itself, with its port. */
  host: string;
  /** With `mounted`: that repository. */
  from?: string;
  /** With `retry`: how long until then, and why. */
  delayMs?: number;
  error?: unknown;
}

/** Receives events, in order. Called once per network read: throttle before drawing. What it throws ends the transfer. */
export type OnTransfer = (event: TransferEvent) => void;

/** Tells of one blob or manifest. */
export type Tell = (
  kind: TransferEvent['kind'],
  transferredBytes: number,
  more?: Pick<TransferEvent, 'error' | 'delayMs' | 'from'>,
) => void;
