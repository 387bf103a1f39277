/** What a container cannot see, and the limits that bite. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`isolation${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());
  const shell = (script: string, ...flags: string[]) =>
    lab.docker(['run', '--rm', ...flags, lab.busybox, 'sh', '-c', script], { timeoutMs: 60_000 });

  test('a container sees its own processes only and is the first of them', async () => {
    const { stdout } = await shell('echo $$; ls -d /proc/[0-9]* | wc -l');
    expect(stdout.split('\n')[0]).toBe('1');
    expect(Number(stdout.split('\n')[1])).toBeLessThanOrEqual(4);
  });

  test('a container sees its own mounts only', async () => {
    const { stdout } = await shell('cat /proc/self/mountinfo');
    const points = stdout
      .trim()
      .split('\n')
      .map((line) => line.split(' ')[4]!);
    expect(points).toContain('/');
    expect(
      points.filter((point) => !/^\/(proc|sys|dev|etc\/(hosts|hostname|resolv\.conf))?(\/|$)/.test(point)),
    ).toEqual([]);
  });

  test('a mount of a container does not appear on the host', async () => {
    const before = readFileSync('/proc/self/mountinfo', 'utf8');
    await lab.ok(['run', '-d', '--name', 'mounted', lab.busybox, 'sleep', '300']);
    const during = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
    const added = during.filter(
      (line) => line !== '' && !before.includes(line.split(' ').slice(3, 5).join(' ')),
    );
    // the sandbox's network namespace is bound to a path: it must outlive the daemon
    expect(added.filter((line) => !line.includes(' - nsfs '))).toEqual([]);
    await lab.ok(['rm', '-f', 'mounted']);
  });

  test('a container has its own host name and network', async () => {
    const { stdout } = await shell('hostname; ip -o link | cut -d: -f2 | tr -d "\\n"');
    expect(stdout).toMatch(/^[0-9a-f]{12}\n lo eth0@/);
    expect(stdout).not.toContain(hostname());
  });

  test('a container cannot see the files of the host', async () => {
    const { stdout } = await shell(
      'ls / | tr "\\n" " "; ls /root /home | wc -l; cat /proc/1/cmdline | tr "\\0" " "',
    );
    expect(stdout).toContain('bin dev etc home proc root sys tmp usr var');
    expect(stdout).not.toMatch(/node|lib64/);
  });

  test('masked and read-only paths of the kernel are masked and read-only', async () => {
    const { stdout } = await shell(
      'cat /proc/kcore /proc/keys /proc/timer_list | wc -c; ls /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -v : | wc -w; echo 1 > /proc/sysrq-trigger; echo 1 > /proc/sys/kernel/panic; echo $?; mkdir /sys/fs/cgroup/x 2>/dev/null || echo no cgroups',
    );
    expect(stdout).toBe('0\n0\n1\nno cgroups\n');
  });

  test('a container has the standard devices and no others', async () => {
    const { stdout } = await shell('ls /dev | tr "\\n" " "');
    expect(stdout.trim().split(' ').sort()).toEqual(['core', 'fd', 'full', 'mqueue', 'null', 'ptmx', 'pts', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero'].sort()); // prettier-ignore
    expect((await shell('mknod /dev/sda b 8 0 && head -c 1 /dev/sda')).code).not.toBe(0);
  });

  test('no descriptor of the engine leaks into a container', async () => {
    const { stdout } = await shell('ls /proc/self/fd | tr "\\n" " "');
    // the fourth is ls reading the folder
    expect(stdout.trim()).toBe('0 1 2 3');
  });

  test('a memory hog is killed by the kernel and it is told', async () => {
    await lab.docker(
      ['run', '--name', 'hog', '-m', '32m', lab.busybox, 'sh', '-c', 'x=a; while :; do x=$x$x; done'],
      { timeoutMs: 60_000 },
    );
    expect(await lab.ok(['inspect', '-f', '{{.State.ExitCode}} {{.State.OOMKilled}}', 'hog'])).toBe(
      '137 true',
    );
    await lab.ok(['rm', 'hog']);
  });

  test('a fork bomb stops at the process limit', async () => {
    await lab.ok([
      'run',
      '-d',
      '--name',
      'bomb',
      '--pids-limit',
      '20',
      lab.busybox,
      'sh',
      '-c',
      'sh -c "i=0; while [ \\$i -lt 60 ]; do sleep 300 & i=\\$((i+1)); done"; exec sleep 300',
    ]);
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', 'bomb']);
    const said = await eventually('fork fails', async () => {
      const { stderr } = await lab.docker(['logs', 'bomb']);
      return stderr.includes("can't fork") ? stderr : undefined;
    });
    expect(said).toContain('Resource temporarily unavailable');
    expect((await lab.ok(['top', 'bomb'])).split('\n').length - 1).toBeLessThanOrEqual(20);
    expect(id).toMatch(/^[0-9a-f]{64}$/);
    await lab.ok(['rm', '-f', 'bomb']);
  });

  test('a CPU quota holds', async () => {
    const script =
      'end=$(($(date +%s)+2)); while [ $(date +%s) -lt $end ]; do :; done; cat /proc/self/schedstat | cut -d" " -f1; awk "{print \\$14+\\$15}" /proc/1/stat';
    await lab.docker(['run', '--name', 'quota', '--cpus', '0.2', lab.busybox, 'sh', '-c', script], {
      timeoutMs: 60_000,
    });
    await lab.ok(['rm', 'quota']);
    // two seconds of wall time at a fifth of a processor: 40 jiffies of 10 ms and what the shell needs to start
    const { stdout } = await shell(
      't0=$(date +%s); i=0; while [ $(($(date +%s)-t0)) -lt 3 ]; do i=$((i+1)); done; cat /proc/1/stat',
      '--cpus',
      '0.2',
    );
    const fields = stdout.trim().split(') ')[1]!.split(' ');
    const jiffies = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    expect(jiffies).toBeGreaterThan(5);
    expect(jiffies).toBeLessThan(120);
  });
});
