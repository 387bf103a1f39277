/** The example as it is run. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { sweepCgroups } from '@tare/runtime-native';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { run } from '../../../test/lab/process.ts';
import { describeContainers, makeLab, type Lab } from '../../../packages/runtime-native/test/rootfs.ts';

const main = join(import.meta.dirname, '../src/main.ts');

describeContainers('the example', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = makeLab();
  });
  afterAll(() => {
    lab.dispose();
    sweepCgroups('/run-a-process');
    rmSync('/run/run-a-process', { recursive: true, force: true });
  });

  it('runs a command in a directory, with our stdio and its exit code', async () => {
    const command = [...process.execArgv, main, lab.rootfs, 'sh', '-c', 'cat; echo $$ >&2; exit 7'];
    expect(await run(process.execPath, command, { input: 'to you' })).toEqual({
      stdout: 'to you',
      stderr: '1\n',
      code: 7,
    });
  });

  it('says how it wants to be called', async () => {
    const { stderr, code } = await run(process.execPath, [...process.execArgv, main]);
    expect({ stderr, code }).toEqual({ stderr: expect.stringContaining('usage:') as string, code: 2 });
  });
});
