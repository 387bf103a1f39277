/** The command beside runc and crun: the same calls in the same order, and the same answers. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { COMPONENTS } from '../../../test/lab/debian.ts';
import {
  describeContainers,
  leftovers,
  makeLab,
  type Lab,
} from '../../../packages/runtime-native/test/rootfs.ts';
import { makeBundle, notBuilt, ourCommand, peerCommand, type RuntimeCommand } from './lab.ts';

/** Of a container that runs. */
const MORE = [
  ['list', '--quiet'],
  ['exec', 'c', '/etc'],
  ['exec', '--cap', 'CAP_SYS_ADMIN', 'c', 'grep', 'CapBnd', '/proc/self/status'],
  ['resume', 'c'],
  ['pause', 'c'],
  ['pause', 'c'],
  ['resume', 'c'],
  ['kill', 'c', '0'],
  ['state', 'c'],
];

if (notBuilt) console.warn(`skipped: the oci-runtime command (${notBuilt})`);

describeContainers('the command', () => {
  let lab: Lab;
  let bundles: { sleeper: string; missing: string; directory: string; exits: string };
  beforeAll(() => {
    lab = makeLab();
    const bundle = (name: string, args: string[]): string =>
      makeBundle(join(lab.directory, name), lab.rootfs, args, (spec) => {
        spec.linux!.cgroupsPath = `${lab.cgroupRoot}/${name}`;
      });
    bundles = {
      sleeper: bundle('sleeper', ['sleep', '1000']),
      missing: bundle('missing', ['no-such-program']),
      directory: bundle('directory', ['/etc']),
      exits: bundle('exits', ['sh', '-c', 'echo out; echo err >&2; exit 9']),
    };
  });
  afterAll(() => {
    expect(leftovers(lab)).toEqual([]);
    lab.dispose();
  });

  const pidFile = (): string => join(lab.directory, 'pid');

  const CREATE = ['create', '--bundle'];
  const RUN = ['run', '--bundle'];
  const full = process.env.TARE_TEST_FULL !== undefined;

  /** A life with everything that can be done to a container, and much that cannot. */
  const steps = (): string[][] => [
    ...['state', 'start', 'kill', 'delete', 'ps', 'pause', 'resume', 'update'].flatMap((name) =>
      full || name === 'state' ? [[name, 'none']] : [],
    ),
    ['delete', '--force', 'none'],
    ['exec', 'none', 'true'],
    ['list', '--format', 'json'],
    ['no-such-command'],
    [...CREATE, '/does/not/exist', 'x'],
    [...CREATE, bundles.sleeper, '../x'],
    [...CREATE, bundles.missing, 'x'],
    [...RUN, bundles.directory, 'x'],
    [...RUN, bundles.exits, 'x'],
    [...RUN, bundles.sleeper, '--detach', '--pid-file', '/does/not/exist/pid', 'x'],
    ['list'],
    [...CREATE, bundles.sleeper, '--pid-file', pidFile(), 'c'],
    ['state', 'c'],
    ['list'],
    ['list', '--format', 'json'],
    [...CREATE, bundles.sleeper, 'c'],
    ['start', 'c'],
    ['start', 'c'],
    ['exec', 'c', 'sh', '-c', 'echo out; echo err >&2; exit 3'],
    ['exec', 'c', 'no-such-program'],
    ['exec', 'c', 'sh', '-c', 'kill -9 $$'],
    [
      'exec',
      '--user',
      '1000:1000',
      '--cwd',
      '/tmp',
      '-e',
      'A=b c',
      'c',
      'sh',
      '-c',
      'id -u; id -g; pwd; echo $A',
    ],
    ['ps', '--format', 'json', 'c'],
    ['ps', 'c'],
    ['pause', 'c'],
    ['state', 'c'],
    ['exec', 'c', 'true'],
    ['delete', 'c'],
    ['resume', 'c'],
    ['update', '--memory', '104857600', '--pids-limit', '40', 'c'],
    ['kill', 'c', 'NOSUCH'],
    ['delete', 'c'],
    ...(full ? MORE : []),
    ['kill', '--all', 'c', 'SIGKILL'],
    ['state', 'c'],
    ['kill', 'c'],
    ['exec', 'c', 'true'],
    ['start', 'c'],
    ['delete', 'c'],
    // one that has not begun needs no force
    [...CREATE, bundles.sleeper, 'd'],
    ['delete', 'd'],
    [...RUN, bundles.sleeper, '--detach', 'e'],
    ['delete', '--force', 'e'],
    ['list'],
  ];

  /** What differs from one run, and one program, to the next. */
  function normalized(text: string, name: string): string {
    return (
      text
        .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
        .replaceAll(`${name} create failed`, 'create failed')
        .replaceAll(`${name} run failed`, 'run failed')
        .replaceAll(/(TIME)\s+root/g, '$1 root')
        .replaceAll(/^ID .*OWNER$/gm, 'HEAD')
        // of ps: the part of a processor since the start, and the time of it
        .replaceAll(/\d+ \d\d:\d\d (?=\?)/g, 'C H:M ')
        .replaceAll(/\b(?!1000\b|104857600\b)\d{3,}\b/g, 'N')
        .replaceAll(/(ociVersion[\\": ]+)[\d.a-z-]+/g, '$1V')
        // a line's end inside the message
        .replaceAll(String.raw`'\n"`, `'"`)
        .replaceAll(lab.directory, 'LAB')
    );
  }

  interface Answer {
    step: string;
    code: number;
    stdout: string;
    stderr: string;
  }

  async function answers(command: RuntimeCommand): Promise<Answer[]> {
    const all: Answer[] = [];
    for (const step of steps()) {
      const { code, stdout, stderr } = await command.run(step);
      if (step[0] === 'create' && step.includes(pidFile()) && code === 0)
        expect(readFileSync(pidFile(), 'utf8')).toMatch(/^\d+$/);
      if (step[0] === 'kill' && step.includes('SIGKILL')) await stopped(command);
      all.push({
        step: step.join(' ').replaceAll(lab.directory, 'LAB'),
        code,
        stdout: normalized(stdout, command.name),
        stderr: normalized(stderr, command.name),
      });
    }
    rmSync(pidFile(), { force: true });
    return all;
  }

  async function stopped(command: RuntimeCommand): Promise<void> {
    await expect
      .poll(async () => (JSON.parse((await command.run(['state', 'c'])).stdout) as { status: string }).status)
      .toBe('stopped');
  }

  it.skipIf(notBuilt)(
    'says and does what runc does',
    async ({ skip }) => {
      const runc = peerCommand(COMPONENTS.runc, join(lab.directory, 'runc'));
      if (!runc) return skip();
      const ours = await answers(ourCommand(join(lab.directory, 'ours')));
      expect(ours).toEqual(await answers(runc));
    },
    120_000,
  );

  it.skipIf(notBuilt)(
    'ends with the exit codes of crun, and has the same states',
    async ({ skip }) => {
      const crun = peerCommand(COMPONENTS.crun, join(lab.directory, 'crun'));
      if (!crun) return skip();
      const life = [
        ['create', '--bundle', bundles.sleeper, 'c'],
        ['state', 'c'],
        ['start', 'c'],
        ['state', 'c'],
        ['exec', 'c', 'sh', '-c', 'exit 3'],
        ['pause', 'c'],
        ['state', 'c'],
        ['resume', 'c'],
        ['delete', 'c'],
        ['delete', '--force', 'c'],
        ['state', 'c'],
        ['run', '--bundle', bundles.exits, 'x'],
        ['run', '--bundle', bundles.missing, 'x'],
      ];
      const outcome = async (command: RuntimeCommand): Promise<unknown[]> => {
        const all: unknown[] = [];
        for (const step of life) {
          const { code, stdout } = await command.run(step);
          const { status, id, bundle } = step[0] === 'state' && code === 0 ? JSON.parse(stdout) : {};
          all.push({ step: step.join(' '), code, status, id, bundle });
        }
        return all;
      };
      expect(await outcome(ourCommand(join(lab.directory, 'ours')))).toEqual(await outcome(crun));
    },
    60_000,
  );
});
