/** The decoder of plans, built with sanitizers, against plans that were tampered with. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { compileContainer, compileExec } from '../../src/plan/compile.ts';
import { encodePlan } from '../../src/plan/operations.ts';
import { parseSpec } from '../../src/plan/validate.ts';
import { CONTEXT } from '../plan/context.ts';
import { defaultSpec } from '../../src/spec/index.ts';

const helper = join(import.meta.dirname, '../../native/helper');
const missing = process.platform !== 'linux' || spawnSync('gcc', ['--version']).status !== 0;
if (missing) console.warn('skipped: the decoder under sanitizers (needs Linux and gcc)');

describe.skipIf(missing)('the decoder of plans', () => {
  let directory: string;
  let program: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'tare-fuzz-'));
    program = join(directory, 'fuzz-plan');
    const flags = ['-std=gnu11', '-O1', '-g', '-Wall', '-Wextra', '-Werror'];
    const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
    const sources = [join(helper, 'test/fuzz-plan.c'), join(helper, 'message.c')];
    execFileSync('gcc', [...flags, ...sanitizers, '-o', program, ...sources]);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it('reads nothing outside a plan, whatever the plan says', () => {
    const spec = parseSpec({
      ...defaultSpec(['sh', '-c', 'echo']),
      root: { path: '/image' },
      hostname: 'box',
      process: {
        ...defaultSpec(['sh', '-c', 'echo']).process,
        scheduler: { policy: 'SCHED_OTHER', nice: -1 },
        ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 1 },
        execCPUAffinity: { initial: '0-70', final: '1' },
        apparmorProfile: 'p',
      },
      mounts: [
        ...defaultSpec([]).mounts!.filter(({ type }) => type !== 'cgroup'),
        { destination: '/data', type: 'bind', source: '/host', options: ['rbind', 'rro'] },
      ],
    });
    const common = {
      ...CONTEXT,
      cgroups: {
        tasks: ['/cg/a/tasks'],
        birth: '/cg',
        oomEvents: '/cg/events',
        unified: true,
        hierarchies: [],
      },
      seccomp: { flags: 0, program: new Uint8Array(64) },
      securityModules: { apparmor: true, selinux: true },
    };
    const log = { path: '/log', format: 'json-file' as const, maxSizeBytes: 1000 };
    const plans = [
      compileContainer(spec, {
        ...common,
        stdio: { terminal: true, log },
      }),
      compileContainer(spec, {
        ...common,
        rootfs: [
          { type: 'overlay', source: 'overlay', options: ['lowerdir=/a:/b', 'upperdir=/u', 'workdir=/w'] },
        ],
      }),
      compileExec(
        spec,
        { args: ['id'], env: ['A=1'], user: { uid: 1, gid: 1, additionalGids: [1, 2, 3] } },
        { pid: 1, startTicks: 2n },
        common,
      ),
    ];
    const files = plans.map((plan, i) => {
      const file = join(directory, `plan-${i}`);
      writeFileSync(file, encodePlan(plan));
      return file;
    });
    // the seed is fixed, so that a failure happens again
    const { status, stdout, stderr } = spawnSync(program, ['40000', '20260801', ...files], {
      encoding: 'utf8',
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    // the mutations are not so wild that everything is refused at once
    expect(Number(/^(\d+) accepted/.exec(stdout)?.[1])).toBeGreaterThan(1000);
  });
});
