/** `--init`: a pid 1 that reaps and hands signals on. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`docker run --init${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test('runs the command as a child of pid 1, whose exit code is the command’s', async () => {
    const { stdout, code } = await lab.docker([
      'run',
      '--rm',
      '--init',
      lab.busybox,
      'sh',
      '-c',
      'cat /proc/1/comm; echo $PPID; exit 9',
    ]);
    expect({ stdout, code }).toEqual({ stdout: 'docker-init\n1\n', code: 9 });
  });

  test('stops a program at once that handles no signals itself', async () => {
    await lab.ok(['run', '-d', '--name', 'stubborn', '--init', lab.busybox, 'sleep', '1000']);
    await lab.ok(['stop', '-t', '30', 'stubborn']);
    // by the signal, not by the kill that would have followed it
    expect(await lab.ok(['inspect', '-f', '{{.State.ExitCode}}', 'stubborn'])).toBe('143');
  });

  test('reaps what is orphaned', async () => {
    await lab.ok(['run', '-d', '--name', 'reaped', '--init', lab.busybox, 'sleep', '1000']);
    await lab.ok(['exec', 'reaped', 'sh', '-c', '(sleep 0.1 &) ; (true &)']);
    await eventually('no zombie is left', async () => {
      const states = await lab.ok([
        'exec',
        'reaped',
        'sh',
        '-c',
        'grep -h ^State: /proc/[0-9]*/status; true',
      ]);
      return states.includes('Z') ? undefined : true;
    });
  });

  test('cannot be written to from inside', async () => {
    const { code, stderr } = await lab.docker([
      'run',
      '--rm',
      '--init',
      lab.busybox,
      'sh',
      '-c',
      'echo evil > /sbin/docker-init',
    ]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/Read-only file system|Text file busy/);
  });
});
