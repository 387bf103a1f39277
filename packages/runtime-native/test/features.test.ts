/** The `features` document against the runtime that it describes. */
import { expect, it } from 'vitest';

import { features } from '../src/features.ts';
import { parseMountOptions } from '../src/plan/mount-options.ts';
import { parseSpec } from '../src/plan/validate.ts';
import { defaultSpec } from '../src/spec/index.ts';

it('names mount options that are understood, none of them left to the file system', () => {
  for (const option of features().mountOptions) {
    const parsed = parseMountOptions([option]);
    expect({ option, data: parsed.data, unsupported: parsed.unsupported }).toEqual({
      option,
      data: [],
      unsupported: [],
    });
  }
});

it('names capabilities, and seccomp actions, operators and flags that a spec may have', () => {
  const { capabilities, seccomp } = features().linux;
  const spec = defaultSpec(['true']);
  spec.process!.capabilities = { bounding: [...capabilities] };
  expect(() =>
    parseSpec({
      ...spec,
      linux: {
        ...spec.linux,
        seccomp: {
          defaultAction: 'SCMP_ACT_ALLOW',
          architectures: seccomp.archs,
          flags: seccomp.supportedFlags,
          syscalls: seccomp.actions.flatMap((action) =>
            seccomp.operators.map((op) => ({ names: ['read'], action, args: [{ index: 0, value: 1, op }] })),
          ),
        },
      },
    }),
  ).not.toThrow();
});

it('can be asked for without making anything, and twice with the same answer', () => {
  expect(features()).toEqual(features());
  expect(features()).toMatchObject({ ociVersionMin: '1.0.0', linux: { cgroup: { v1: true, v2: true } } });
});
