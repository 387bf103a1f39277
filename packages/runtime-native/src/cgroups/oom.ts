/** Noticing that the OOM killer strikes in a cgroup, without asking it again and again. */
import { closeSync, openSync, readSync, watch, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { load } from '#binding';
import { watchReadable } from '../process.ts';
import type { Cgroup } from './cgroup.ts';
import { failure, isMissing } from './files.ts';

/** Version 1 tells before it kills, so its counter is looked at for as long after that. */
const COUNTER_DELAYS_MS = [0, 1, 4, 20, 100, 500];

/** A watch on a cgroup's OOM killer. Disposing of it ends the watch; disposing twice is fine. */
export interface OomWatch extends Disposable {
  /** Resolves when it is worth to look at {@link Cgroup.oomKills} again. Never without a memory controller. */
  next(): Promise<void>;
}

/** Does not keep the event loop alive. @throws {RuntimeError} `CGROUP_FAILED` */
export function watchOom(cgroup: Cgroup): OomWatch {
  const file = cgroup.placement.oomEvents;
  let wake = Promise.withResolvers<void>();
  let last = cgroup.oomKills();
  let over = false;
  const notify = (): void => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const lookUntilCounted = async (): Promise<void> => {
    for (const ms of COUNTER_DELAYS_MS) {
      await delay(ms, undefined, { ref: false });
      if (over) return;
      const kills = cgroup.oomKills();
      if (kills === last) continue;
      last = kills;
      return notify();
    }
  };
  const end = file === undefined ? undefined : start(file, () => void lookUntilCounted());
  return {
    next: () => wake.promise,
    [Symbol.dispose]() {
      over = true;
      end?.();
    },
  };
}

/** Calls `onEvent` when the kernel has something to say; returns what ends that. */
function start(file: string, onEvent: () => void): (() => void) | undefined {
  try {
    return file.endsWith('memory.events') ? watchFile(file, onEvent) : watchEventfd(file, onEvent);
  } catch (error) {
    // the container has ended, and its cgroup with it
    if (isMissing(error)) return undefined;
    throw failure('watch', file, error);
  }
}

/** Version 2: the kernel modifies the file. */
function watchFile(file: string, onEvent: () => void): () => void {
  const watcher = watch(file, { persistent: false }, onEvent);
  // the file went away with its cgroup
  watcher.on('error', () => watcher.close());
  return () => watcher.close();
}

/** Version 1: an eventfd that is registered with the cgroup. */
function watchEventfd(file: string, onEvent: () => void): () => void {
  const event = load().eventfd();
  try {
    const control = openSync(file, 'r');
    try {
      writeFileSync(`${dirname(file)}/cgroup.event_control`, `${event} ${control}`);
    } finally {
      closeSync(control);
    }
    const counter = Buffer.alloc(8);
    const watcher = watchReadable(event, () => {
      readSync(event, counter);
      onEvent();
    });
    watcher.keepAlive(false);
    return () => {
      watcher.close();
      closeSync(event);
    };
  } catch (error) {
    closeSync(event);
    throw error;
  }
}
