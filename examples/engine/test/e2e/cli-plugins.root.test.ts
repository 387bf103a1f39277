/** `tare compose` and `tare buildx`: Docker's own plugins, hosted by our command line, on our daemon. */
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, tareCommand, type Lab } from './lab.ts';

const compose = componentPath(COMPONENTS.compose);
const buildx = componentPath(COMPONENTS.buildx);
const missing =
  missingForEndToEnd() ?? (compose && buildx ? undefined : 'needs docker-compose and docker-buildx');

describe.skipIf(missing !== undefined)(`stock plugins${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let home: string;
  beforeAll(async () => {
    lab = await startLab();
    home = await mkdtemp(join(tmpdir(), 'plugins-'));
    const plugins = join(home, '.docker', 'cli-plugins');
    await mkdir(plugins, { recursive: true });
    await symlink(compose!, join(plugins, 'docker-compose'));
    await symlink(buildx!, join(plugins, 'docker-buildx'));
    await writeFile(
      join(home, 'Dockerfile'),
      `FROM ${lab.busybox}\nRUN echo built > /result\nCMD ["cat", "/result"]\n`,
    );
    await writeFile(
      join(home, 'compose.yaml'),
      `name: small\nservices:\n  one: { build: ., stop_grace_period: 0s }\n  two: { image: "${lab.busybox}", command: sleep 100, stop_grace_period: 0s }\n`,
    );
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(home, { recursive: true, force: true });
  });

  const tare = (...args: string[]): Promise<Finished> =>
    run(process.execPath, [...tareCommand(), '-H', lab.host, ...args], {
      cwd: home,
      env: { PATH: process.env.PATH, HOME: home, BUILDX_CONFIG: join(home, 'buildx') },
      timeoutMs: 60_000,
    });

  test('are listed in the help', async () => {
    const { stdout } = await tare('--help');
    expect(stdout).toMatch(/^ {2}buildx\* +Docker Buildx$/m);
    expect(stdout).toMatch(/^ {2}compose\* +Docker Compose$/m);
  });

  test('buildx builds on our daemon', async () => {
    const built = await tare('buildx', 'build', '--progress', 'plain', '-t', 'by-buildx', '.');
    expect(built.code, built.stderr).toBe(0);
    expect((await tare('run', '--rm', 'by-buildx')).stdout).toBe('built\n');
  });

  test('compose builds, brings up and takes down an application', async () => {
    const up = await tare('compose', '--progress', 'plain', 'up', '-d', '--build');
    expect(up.code, up.stderr).toBe(0);
    expect(
      (await tare('compose', 'ps', '-a', '--format', '{{.Service}}')).stdout.trim().split('\n').sort(),
    ).toEqual(['one', 'two']);
    expect((await tare('compose', 'logs', '--no-log-prefix', 'one')).stdout).toContain('built');
    expect((await tare('ps', '--format', '{{.Names}}')).stdout).toContain('small-two-1');
    const down = await tare('compose', '--progress', 'plain', 'down');
    expect(down.code, down.stderr).toBe(0);
    expect((await tare('compose', 'ps', '-aq')).stdout).toBe('');
  });
});
