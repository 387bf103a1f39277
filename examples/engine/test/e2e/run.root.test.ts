/** `docker run` and its neighbours with the stock CLI: output, exit codes and error texts as dockerd's users know them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`docker run${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  /** Each row: what, arguments after `docker run --rm`, expected stdout, exit code, part of stderr. */
  const rows: [string, (lab: Lab) => string[], string, number, RegExp?][] = [
    [
      'keeps stdout and stderr apart',
      ({ busybox }) => [busybox, 'sh', '-c', 'echo out; echo err >&2'],
      'out\n',
      0,
      /^err\n$/,
    ],
    ["gives the container's exit code", ({ busybox }) => [busybox, 'sh', '-c', 'exit 3'], '', 3],
    [
      'gives 127 for a program that is not there',
      ({ busybox }) => [busybox, 'no-such-program'],
      '',
      127,
      /executable file not found in \$PATH/,
    ],
    [
      'gives 127 for a path that is not there',
      ({ busybox }) => [busybox, '/no/such/program'],
      '',
      127,
      /no such file or directory/,
    ],
    [
      'gives 126 for a file that is not executable',
      ({ busybox }) => [busybox, '/etc/passwd'],
      '',
      126,
      /permission denied/,
    ],
    [
      'gives 125 for a daemon error',
      ({ busybox }) => ['--memory', '1m', busybox, 'true'],
      '',
      125,
      /Minimum memory limit allowed is 6MB/,
    ],
    [
      'takes -e, -w and -u',
      ({ busybox }) => [
        '-e',
        'A=b c',
        '-w',
        '/srv/new',
        '-u',
        '1000:2000',
        busybox,
        'sh',
        '-c',
        'echo $A $PWD $(id -u):$(id -g)',
      ],
      'b c /srv/new 1000:2000\n',
      0,
    ],
    [
      'resolves a user name and his groups in the image',
      ({ busybox }) => ['-u', 'worker', busybox, 'id'],
      'uid=1000(worker) gid=1000(worker) groups=1000(worker),2000(extra)\n',
      0,
    ],
    [
      'replaces the entrypoint',
      ({ registry }) => ['--entrypoint', '/bin/cat', `${registry}configured`, '/etc/marker'],
      'from layer two',
      0,
    ],
    ['runs entrypoint with cmd', ({ registry }) => [`${registry}configured`], 'default\n', 0],
    ['runs entrypoint with arguments', ({ registry }) => [`${registry}configured`, 'given'], 'given\n', 0],
    [
      'applies whiteouts and configuration of the image',
      ({ registry }) => [
        '--entrypoint',
        '/bin/sh',
        `${registry}configured`,
        '-c',
        'ls /etc; pwd; id -u; echo $A',
      ],
      'hostname\nhosts\nmarker\npasswd\nresolv.conf\n/srv\n1000\n1\n',
      0,
    ],
    [
      'makes the root file system read-only',
      ({ busybox }) => ['--read-only', busybox, 'touch', '/x'],
      '',
      1,
      /Read-only file system/,
    ],
    [
      'drops a capability',
      ({ busybox }) => ['--cap-drop', 'CHOWN', busybox, 'chown', '1:1', '/etc/passwd'],
      '',
      1,
      /Operation not permitted/,
    ],
    [
      'refuses to mount without the capability',
      ({ busybox }) => [busybox, 'mount', '-t', 'tmpfs', 'x', '/tmp'],
      '',
      1,
      /(permission denied|Operation not permitted)/,
    ],
    [
      'adds a capability',
      ({ busybox }) => [
        '--cap-add',
        'SYS_ADMIN',
        busybox,
        'sh',
        '-c',
        'mount -t tmpfs x /tmp && echo mounted',
      ],
      'mounted\n',
      0,
    ],
    [
      'runs privileged',
      ({ busybox }) => ['--privileged', busybox, 'sh', '-c', 'mount -t tmpfs x /tmp && echo mounted'],
      'mounted\n',
      0,
    ],
    [
      'gives the default fourteen capabilities',
      ({ busybox }) => [busybox, 'grep', 'CapEff', '/proc/self/status'],
      'CapEff:\t00000000a80425fb\n',
      0,
    ],
    [
      'filters system calls',
      ({ busybox }) => [busybox, 'grep', '-E', 'Seccomp:', '/proc/self/status'],
      'Seccomp:\t2\n',
      0,
    ],
    ['sets the host name', ({ busybox }) => ['--hostname', 'box', busybox, 'hostname'], 'box\n', 0],
    [
      'has only a loopback with --network none',
      ({ busybox }) => ['--network', 'none', busybox, 'sh', '-c', 'ip -o link | wc -l'],
      '1\n',
      0,
    ],
  ];
  test.for(rows)('%s', async ([, args, stdout, code, stderr]) => {
    const result = await lab.docker(['run', '--rm', ...args(lab)]);
    expect(result).toMatchObject({ stdout, code });
    if (stderr) expect(result.stderr).toMatch(stderr);
    else if (code === 0) expect(result.stderr).toBe('');
  });

  test('gives 137 when the container is killed from outside', async () => {
    const running = lab.docker(['run', '--name', 'victim', lab.busybox, 'sleep', '300']);
    await eventually('it runs', async () =>
      (await lab.docker(['kill', 'victim'])).code === 0 ? true : undefined,
    );
    expect((await running).code).toBe(137);
    await lab.ok(['rm', 'victim']);
  });

  test('says that the image is not there and pulls it', async () => {
    await lab.docker(['rmi', '-f', `${lab.registry}configured`]);
    const result = await lab.docker(['run', '--rm', `${lab.registry}configured`]);
    expect(result.stdout).toBe('default\n');
    expect(result.stderr).toContain(`Unable to find image '${lab.registry}configured:latest' locally`);
    expect(result.stderr).toContain(`Status: Downloaded newer image for ${lab.registry}configured:latest`);
  });

  test('gives 125 for an image that no registry has', async () => {
    const result = await lab.docker(['run', '--rm', `${lab.registry}nobody`]);
    expect(result.code).toBe(125);
    expect(result.stderr).toMatch(/manifest.*(unknown|not found)|not found/);
  });

  test('passes stdin through and ends it', async () => {
    const result = await lab.docker(['run', '--rm', '-i', lab.busybox, 'cat'], { input: 'one\ntwo\n' });
    expect(result).toMatchObject({ stdout: 'one\ntwo\n', code: 0 });
  });

  test('passes a megabyte through stdin and stdout unchanged', async () => {
    const input = 'x'.repeat(1 << 20);
    const result = await lab.docker(['run', '--rm', '-i', lab.busybox, 'cat'], { input });
    expect(result.stdout.length).toBe(input.length);
  });

  test('gives every byte of twenty megabytes of output, and keeps them in the log', async () => {
    const result = await lab.docker([
      'run',
      '--name',
      'much',
      lab.busybox,
      'sh',
      '-c',
      'yes 0123456789 | head -c 20000000',
    ]);
    expect(result.stdout.length).toBe(20_000_000);
    expect((await lab.docker(['logs', 'much'])).stdout.length).toBe(20_000_000);
    await lab.ok(['rm', 'much']);
  });

  test('keeps a container after it ended, with its log, code and times', async () => {
    await lab.docker(['run', '--name', 'kept', lab.busybox, 'sh', '-c', 'echo one; echo two; exit 5']);
    expect(await lab.ok(['logs', 'kept'])).toBe('one\ntwo');
    expect(await lab.ok(['logs', '--tail', '1', 'kept'])).toBe('two');
    const [inspected] = JSON.parse(await lab.ok(['inspect', 'kept']));
    expect(inspected.State).toMatchObject({
      Status: 'exited',
      Running: false,
      ExitCode: 5,
      OOMKilled: false,
      Error: '',
    });
    expect(Date.parse(inspected.State.FinishedAt)).toBeGreaterThan(Date.parse(inspected.State.StartedAt));
    expect(await lab.ok(['ps', '-a', '--filter', 'name=kept', '--format', '{{.Names}} {{.Status}}'])).toMatch(
      /^kept Exited \(5\)/,
    );
    expect(await lab.ok(['wait', 'kept'])).toBe('5');
    await lab
      .ok(['start', '-a', 'kept'])
      .catch((error: Error) => expect(error.message).toContain('ended with 5'));
    expect(await lab.ok(['logs', 'kept'])).toBe('one\ntwo\none\ntwo');
    expect(await lab.ok(['rm', 'kept'])).toBe('kept');
  });

  test('refuses a taken name', async () => {
    const id = await lab.ok(['create', '--name', 'taken', lab.busybox]);
    const result = await lab.docker(['create', '--name', 'taken', lab.busybox]);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(
      `Conflict. The container name "/taken" is already in use by container "${id}"`,
    );
    await lab.ok(['rm', 'taken']);
  });

  test('stops with the signal first and kills after the timeout', async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'polite',
      lab.busybox,
      'sh',
      '-c',
      'trap "exit 7" TERM; while :; do sleep 0.05; done',
    ]);
    await lab.ok([
      'run',
      '-d',
      '--name',
      'deaf',
      lab.busybox,
      'sh',
      '-c',
      'trap "" TERM; while :; do sleep 0.05; done',
    ]);
    await lab.ok(['stop', '-t', '5', 'polite']);
    await lab.ok(['stop', '-t', '1', 'deaf']);
    expect(await lab.ok(['inspect', '-f', '{{.State.ExitCode}}', 'polite', 'deaf'])).toBe('7\n137');
    await lab.ok(['rm', 'polite', 'deaf']);
  });

  test('refuses to remove a running container unless forced', async () => {
    await lab.ok(['run', '-d', '--name', 'busy', lab.busybox, 'sleep', '300']);
    const refused = await lab.docker(['rm', 'busy']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(
      'container is running: stop the container before removing or force remove',
    );
    await lab.ok(['kill', 'busy']);
    expect(await lab.ok(['inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', 'busy'])).toBe(
      'exited 137',
    );
    const again = await lab.docker(['kill', 'busy']);
    expect(again.stderr).toMatch(/is not running/);
    await lab.ok(['rm', 'busy']);
    expect((await lab.docker(['inspect', 'busy'])).stderr).toMatch(/No such object: busy/);
  });

  test('follows a log until the container ends', async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'talker',
      lab.busybox,
      'sh',
      '-c',
      'for i in 1 2 3 4 5; do echo $i; sleep 0.1; done',
    ]);
    expect(await lab.ok(['logs', '-f', 'talker'])).toBe('1\n2\n3\n4\n5');
    expect(await lab.ok(['logs', '-t', '--tail', '2', 'talker'])).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z 4\n/,
    );
    await lab.ok(['rm', 'talker']);
  });

  test('executes a command in a running container', async () => {
    await lab.ok(['run', '-d', '--name', 'host', '-e', 'OUTER=1', lab.busybox, 'sleep', '300']);
    expect(await lab.ok(['exec', 'host', 'sh', '-c', 'echo $OUTER; tr "\\0" " " < /proc/1/cmdline'])).toBe(
      '1\nsleep 300',
    );
    expect(await lab.ok(['exec', '-i', 'host', 'cat'], { input: 'through exec' })).toBe('through exec');
    expect((await lab.docker(['exec', 'host', 'sh', '-c', 'exit 9'])).code).toBe(9);
    expect((await lab.docker(['exec', 'host', 'no-such'])).code).toBe(127);
    expect((await lab.docker(['exec', 'host', '/etc/passwd'])).code).toBe(126);
    expect(
      await lab.ok([
        'exec',
        '-u',
        '1000',
        '-w',
        '/tmp',
        '-e',
        'X=y',
        'host',
        'sh',
        '-c',
        'echo $(id -u) $PWD $X',
      ]),
    ).toBe('1000 /tmp y');
    await lab.ok(['rm', '-f', 'host']);
    expect((await lab.docker(['exec', 'host', 'true'])).stderr).toMatch(/No such container: host/);
  });

  test('gives a terminal with -t, in run and in exec', async () => {
    await lab.ok([
      'run',
      '-d',
      '-t',
      '--name',
      'screen',
      lab.busybox,
      'sh',
      '-c',
      'tty; stty size; sleep 300',
    ]);
    const log = await eventually('terminal output', async () => {
      const { stdout } = await lab.docker(['logs', 'screen']);
      return stdout.includes('pts') ? stdout : undefined;
    });
    expect(log).toMatch(/\/dev\/(pts\/0|console)/);
    expect(await lab.ok(['exec', '-t', 'screen', 'sh', '-c', 'test -t 1 && echo terminal'])).toBe('terminal');
    await lab.ok(['rm', '-f', 'screen']);
  });

  test('attaches to a running container: what it prints from then on, until it ends', async () => {
    await lab.ok([
      'create',
      '-i',
      '--name',
      'loop',
      lab.busybox,
      'sh',
      '-c',
      'while read line; do echo "got $line"; done',
    ]);
    const attached = lab.docker(['start', '-a', '-i', 'loop'], { input: 'a\nb\n' });
    expect(await attached).toMatchObject({ stdout: 'got a\ngot b\n', code: 0 });
    await lab.ok(['rm', 'loop']);
    await lab.ok([
      'run',
      '-d',
      '--name',
      'clock',
      lab.busybox,
      'sh',
      '-c',
      'while [ ! -e /go ]; do sleep 0.05; done; echo gone; exit 6',
    ]);
    const watching = lab.docker(['attach', '--no-stdin', 'clock']);
    await lab.ok(['exec', 'clock', 'touch', '/go']);
    expect((await watching).code).toBe(6);
    await lab.ok(['rm', 'clock']);
  });

  test('mounts a folder of the host, read-write and read-only', async () => {
    const folder = `${lab.dataRoot}-bind`;
    await lab.ok(['run', '--rm', '-v', `${folder}:/data`, lab.busybox, 'sh', '-c', 'echo hi > /data/file']);
    expect(await lab.ok(['run', '--rm', '-v', `${folder}:/data:ro`, lab.busybox, 'cat', '/data/file'])).toBe(
      'hi',
    );
    expect(
      (await lab.docker(['run', '--rm', '-v', `${folder}:/data:ro`, lab.busybox, 'touch', '/data/x'])).code,
    ).toBe(1);
  });

  test("two containers of one image do not see each other's writes", async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'left',
      lab.busybox,
      'sh',
      '-c',
      'echo left > /mine; rm /bin/wget; sleep 300',
    ]);
    await lab.ok(['run', '-d', '--name', 'right', lab.busybox, 'sh', '-c', 'echo right > /mine; sleep 300']);
    await eventually('both wrote', async () => {
      const texts = await Promise.all(
        ['left', 'right'].map((name) => lab.docker(['exec', name, 'cat', '/mine'])),
      );
      return texts.map(({ stdout }) => stdout).join('') === 'left\nright\n' ? true : undefined;
    });
    expect(await lab.ok(['exec', 'right', 'ls', '/bin/wget'])).toBe('/bin/wget');
    await lab.ok(['rm', '-f', 'left', 'right']);
    expect((await lab.docker(['run', '--rm', lab.busybox, 'cat', '/mine'])).code).toBe(1);
  });

  test('runs twenty containers in parallel', async () => {
    const numbers = Array.from({ length: 20 }, (_, index) => String(index));
    const results = await Promise.all(
      numbers.map((number) =>
        lab.docker(['run', '--rm', lab.busybox, 'echo', number], { timeoutMs: 60_000 }),
      ),
    );
    expect(results.map(({ stdout, code }) => [stdout, code])).toEqual(
      numbers.map((number) => [`${number}\n`, 0]),
    );
    expect(await lab.ok(['ps', '-aq'])).toBe('');
  });
});
