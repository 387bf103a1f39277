/** `tare` and the stock docker CLI against the same daemon: the same output, exit codes and error texts. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import type { Finished } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd() ?? olderThanOurs();
const script = '/usr/bin/script';
const start = join(import.meta.dirname, '..', '..', 'src', 'cli', 'start.ts');

describe.skipIf(missing !== undefined)(`tare beside docker${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
    await lab.ok([
      'run',
      '-d',
      '--name',
      'long',
      '-l',
      'a=b',
      '-p',
      '127.0.0.1::8080',
      '-v',
      'vol:/v',
      lab.busybox,
      'sleep',
      '600',
    ]);
    await lab.docker(['run', '--name', 'ended', lab.busybox, 'sh', '-c', 'echo out; echo err >&2; exit 3']);
    await lab.ok(['network', 'create', '--subnet', '10.77.0.0/24', 'net1']);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  /** What may differ between two runs of the same command: ids, ages, generated names, the client's name. */
  function neutral({ code, stdout, stderr }: Finished): unknown {
    const text = (output: string): string =>
      output
        .replace(/\b[0-9a-f]{64}\b/g, '<id>')
        .replace(/\b[0-9a-f]{12}\b/g, '<short>')
        .replace(/\b[Dd]ocker: /g, 'tare: ')
        // The hint at the end was worded anew over the versions.
        .replace(/\n\n?(?:See|Run) '\w+ run --help'.*\n/, '\n')
        .replace(/(?<=Usage: {2}|['"])docker\b/g, 'tare')
        .replace(
          /(?:Less than a second|About a minute|1 second|\d+ (?:seconds|minutes))( ago)? *(?=\s|$|\()/gm,
          '<age>',
        )
        // as wide as the ages below it, which may pass a second between the two
        .replace(/\b(CREATED|STATUS) {2,}/g, '$1 ');
    return { code, stdout: text(stdout), stderr: text(stderr) };
  }

  const same: [string, (lab: Lab) => string[]][] = [
    ['lists containers', () => ['ps', '-a']],
    ['lists containers in full', () => ['ps', '-a', '--no-trunc', '--size']],
    [
      'filters containers',
      () => ['ps', '-a', '--filter', 'status=exited', '--format', '{{.Names}} {{.Image}} {{.State}}'],
    ],
    ['lists images', () => ['images']],
    ['lists images with digests', () => ['images', '--digests', '--no-trunc']],
    ['lists networks', () => ['network', 'ls']],
    ['lists volumes', () => ['volume', 'ls']],
    ['sums up disk usage', () => ['system', 'df']],
    ['inspects a container', () => ['inspect', 'long']],
    ['inspects an image', ({ busybox }) => ['inspect', busybox]],
    ['inspects a network', () => ['network', 'inspect', 'net1']],
    [
      'inspects by template',
      () => [
        'inspect',
        '-f',
        '{{.State.Status}} {{.HostConfig.NetworkMode}} {{json .Config.Labels}}',
        'long',
      ],
    ],
    ['inspects nothing', () => ['inspect', 'nosuch']],
    ['shows history', ({ busybox }) => ['history', busybox]],
    ['shows logs of both streams', () => ['logs', 'ended']],
    ['shows the end of the logs with times', () => ['logs', '--tail', '1', '-t', 'ended']],
    ['shows ports', () => ['port', 'long']],
    ['shows processes', () => ['top', 'long', '-o', 'comm,args']],
    ['waits for what has ended', () => ['wait', 'ended']],
    ['runs', ({ busybox }) => ['run', '--rm', busybox, 'sh', '-c', 'echo out; echo err >&2; exit 5']],
    ['runs without a program', ({ busybox }) => ['run', '--rm', busybox, 'no-such-program']],
    ['runs what is not executable', ({ busybox }) => ['run', '--rm', busybox, '/etc/passwd']],
    ['runs with too little memory', ({ busybox }) => ['run', '--memory', '1m', busybox, 'true']],
    ['runs under a name that is taken', ({ busybox }) => ['run', '--name', 'long', busybox, 'true']],
    ['runs an image that is not there', ({ registry }) => ['run', '--rm', `${registry}nosuch`, 'true']],
    ['executes', () => ['exec', 'long', 'sh', '-c', 'echo o; echo e >&2; exit 4']],
    ['executes what is not there', () => ['exec', 'long', 'no-such-program']],
    ['executes in what has ended', () => ['exec', 'ended', 'true']],
    ['pulls again', ({ busybox }) => ['pull', busybox]],
    ['refuses to remove what runs', () => ['rm', 'long']],
    ['refuses to remove an image in use', ({ busybox }) => ['rmi', busybox]],
    ['kills what has ended', () => ['kill', 'ended']],
    ['attaches to what has ended', () => ['attach', 'ended']],
    ['starts and attaches again', () => ['start', '-a', 'ended']],
    ['searches a registry', ({ registry }) => ['search', `${registry}config`]],
    ['searches by template', ({ registry }) => ['search', '--format', '{{json .}}', `${registry}config`]],
    ['lists changes', () => ['diff', 'ended']],
    ['lists changes of nobody', () => ['diff', 'nosuch']],
    ['saves what is not there', () => ['save', 'nosuch']],
    ['exports to nowhere', () => ['export', '-o', '/nosuch/file', 'ended']],
    ['loads what is no archive', () => ['load', '-i', '/etc/passwd']],
    ['loads what is not there', () => ['load', '-i', '/nosuch']],
    ['commits', () => ['commit', '-m', 'message', '-c', 'CMD ["x"]', 'ended', 'committed:by-cli']],
    ['commits nobody', () => ['commit', 'nosuch']],
    ['imports what is not there', () => ['import', '/nosuch']],
  ];

  test.for(same)('%s', async ([, args]) => {
    const ours = await lab.tare(args(lab));
    const theirs = await lab.docker(args(lab));
    expect(neutral(ours)).toEqual(neutral(theirs));
  });

  test('hands stdin on to its end', async () => {
    const { code, stdout } = await lab.tare(['run', '--rm', '-i', lab.busybox, 'cat'], { input: 'hello\n' });
    expect([code, stdout]).toEqual([0, 'hello\n']);
    const exec = await lab.tare(['exec', '-i', 'long', 'cat'], { input: 'again\n' });
    expect([exec.code, exec.stdout]).toEqual([0, 'again\n']);
  });

  test('pulls a missing image for run, and says so on stderr only', async () => {
    const image = `${lab.registry}library/hub-image:latest`;
    const { code, stdout, stderr } = await lab.tare(['run', '--rm', image]);
    expect([code, stdout]).toEqual([0, 'from the mirror\n']);
    expect(stderr).toMatch(new RegExp(`^Unable to find image '${image}' locally\n`));
    expect(stderr).toContain(`Status: Downloaded newer image for ${image}`);
  });

  test.skipIf(!existsSync(script))('gives the container a terminal as large as its own', async () => {
    const tare = [process.execPath, ...process.execArgv, start, '-H', lab.host].join(' ');
    const line = `stty rows 33 cols 99; ${tare} run --rm -it ${lab.busybox} sh -c 'read go; stty size; exit 6'; echo "code $?"`;
    const child = spawn(script, ['-qec', line, '/dev/null'], {
      env: { ...process.env, SHELL: '/bin/sh' },
      stdio: 'pipe',
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stdin.write('go\r');
    await once(child, 'close');
    expect(output).toContain('33 99');
    expect(output).toContain('code 6');
  });

  test('carries a container through its life', async () => {
    const say = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await lab.tare(args);
      expect([code, stderr]).toEqual([0, '']);
      return stdout.trim();
    };
    const id = await say('create', '--name', 'life', lab.busybox, 'sleep', '600');
    expect(await say('start', 'life')).toBe('life');
    expect(await say('pause', 'life')).toBe('life');
    expect(await say('ps', '--filter', 'name=life', '--format', '{{.State}}')).toBe('paused');
    expect(await say('unpause', 'life')).toBe('life');
    await say('rename', 'life', 'life2');
    await say('network', 'connect', 'net1', 'life2');
    expect(await say('inspect', '-f', '{{(index .NetworkSettings.Networks "net1").IPAddress}}', id)).toMatch(
      /^10\.77\.0\./,
    );
    await say('network', 'disconnect', 'net1', 'life2');
    expect(await say('restart', '-t', '0', 'life2')).toBe('life2');
    expect(await say('stats', '--no-stream', '--format', '{{.Name}}', 'life2')).toBe('life2');
    expect(await say('stop', '-t', '0', 'life2')).toBe('life2');
    expect(await say('wait', 'life2')).toBe('137');
    expect(await say('rm', '-v', 'life2')).toBe('life2');
  });

  test('lists the Jobs the daemon did for it', async () => {
    await lab.tare(['volume', 'create', 'jobbed']);
    await lab.tare(['volume', 'rm', 'jobbed']);
    const { code, stdout } = await lab.tare(['jobs', '-a', '--format', '{{.Kind}} {{.State}}']);
    expect(code).toBe(0);
    expect(stdout.split('\n')).toEqual(
      expect.arrayContaining(['volume.create succeeded', 'volume.remove succeeded']),
    );
  });
});

/** Docker words its output anew over the years; ours is that of 28. Why the CLI here cannot be compared with, if so. */
function olderThanOurs(): string | undefined {
  const version = execFileSync(componentPath(COMPONENTS.docker)!, ['--version'], { encoding: 'utf8' });
  const major = Number(/version (\d+)\./.exec(version)?.[1]);
  return major >= 28
    ? undefined
    : `needs the docker CLI 28 or newer to compare with; this is ${version.trim()}`;
}
