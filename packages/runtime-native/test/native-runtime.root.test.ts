/** The native runtime against the suite that every runtime has to pass. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runtimeSuite, shellSpec } from '../src/testing/index.ts';
import { children, describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('NativeRuntime', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterAll(() => lab.dispose());

  runtimeSuite({ describe, it }, 'NativeRuntime', async () => ({
    runtime: lab.runtime,
    rootfs: lab.rootfs,
    async dispose() {
      expect(leftovers(lab)).toEqual([]);
    },
  }));

  /** Blocks until the file is there, so that nothing of what the monitor says meanwhile is read. */
  function sitUntilThereIs(path: string): void {
    const deadline = Date.now() + 10_000;
    while (!existsSync(path)) if (Date.now() > deadline) throw new Error(`${path} did not come`);
  }

  it('undoes a container that is whole already when the signal is aborted', async () => {
    const abort = new AbortController();
    const spec = shellSpec(lab.rootfs, 'true');
    const creating = lab.runtime.create('one', { spec, signal: abort.signal });
    sitUntilThereIs(join(lab.stateDirectory, 'one', 'pid'));
    abort.abort(new Error('changed my mind'));
    await expect(creating).rejects.toThrow('changed my mind');
    expect(await lab.runtime.list()).toEqual([]);
    expect(leftovers(lab)).toEqual([]);
  });

  it('ends an executed process that runs already when the signal is aborted', async () => {
    const spec = shellSpec(lab.rootfs, 'sleep 1000');
    await using container = await lab.runtime.run('one', { spec });
    const abort = new AbortController();
    const args = ['sh', '-c', 'touch /here; exec sleep 1000'];
    const executing = container.exec({ args, env: ['PATH=/bin'], signal: abort.signal });
    sitUntilThereIs(join(lab.rootfs, 'here'));
    abort.abort(new Error('changed my mind'));
    await expect(executing).rejects.toThrow('changed my mind');
    expect(await container.pids()).toEqual([container.pid]);
    await container.delete({ force: true });
    expect(leftovers(lab)).toEqual([]);
  });

  it('leaves no child behind', async () => {
    await expect.poll(() => children()).toEqual([]);
  });
});
