/** The native runtime against the suite that every runtime has to pass. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runtimeSuite } from '../src/testing/index.ts';
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

  it('leaves no child behind', async () => {
    await expect.poll(() => children()).toEqual([]);
  });
});
