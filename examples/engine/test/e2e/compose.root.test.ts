/** `docker compose` drives the engine: an application of three services, from its start to its end. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run, type Finished } from '../../../../test/lab/process.ts';
import { freePort } from '../../../../test/lab/registry.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const compose = componentPath(COMPONENTS.compose);
const missing = missingForEndToEnd() ?? (compose === undefined ? 'needs docker-compose' : undefined);

describe.skipIf(missing !== undefined)(`compose${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let project: string;
  let port: number;
  beforeAll(async () => {
    lab = await startLab();
    project = await mkdtemp(join(tmpdir(), 'compose-'));
    port = await freePort();
    await mkdir(join(project, 'app'));
    await writeFile(
      join(project, 'compose.yaml'),
      `
name: shop
services:
  store:
    image: ${lab.busybox}
    command: sh -c 'sleep 0.5; echo stored > /data/item; sleep 600'
    volumes: [items:/data]
    networks: { back: { aliases: [database] } }
    healthcheck: { test: [CMD, test, -f, /data/item], interval: 200ms, retries: 50 }
    stop_grace_period: 100ms
  app:
    image: ${lab.busybox}
    command: sh -c 'cp /data/item /index.html; cat /run/secrets/key /settings; exec httpd -f -p 80'
    depends_on: { store: { condition: service_healthy } }
    environment: { MODE: test }
    volumes: [items:/data:ro]
    networks: [front, back]
    secrets: [key]
    configs: [{ source: settings, target: /settings }]
    stop_grace_period: 100ms
  proxy:
    image: ${lab.busybox}
    command: sh -c 'while ! wget -qO /index.html http://app/index.html; do sleep 0.1; done; exec httpd -f -p 80'
    depends_on: [app]
    ports: ['127.0.0.1:${port}:80']
    networks: [front]
    restart: on-failure
    stop_grace_period: 100ms
  once:
    image: ${lab.busybox}
    command: sh -c 'echo ran with $$WHAT; exit 3'
    environment: [WHAT=nothing]
    networks: [front]
    profiles: [tools]
networks: { front: {}, back: { internal: true } }
volumes: { items: {} }
secrets: { key: { file: ./app/key } }
configs: { settings: { file: ./app/settings } }
`,
    );
    await writeFile(join(project, 'app/key'), 'a secret\n');
    await writeFile(join(project, 'app/settings'), 'a setting\n');
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(project, { recursive: true, force: true });
  });

  const command = (...args: string[]): Promise<Finished> =>
    run(compose!, ['--progress', 'plain', ...args], {
      cwd: project,
      env: { PATH: process.env.PATH, HOME: project, DOCKER_HOST: lab.host },
      timeoutMs: 60_000,
    });
  async function ok(...args: string[]): Promise<string> {
    const result = await command(...args);
    if (result.code !== 0) throw new Error(`${result.stdout}\n${result.stderr}\n${lab.daemon.output()}`);
    return result.stdout.trim();
  }

  test('up starts the services in their order, each when those before it are ready', async () => {
    await ok('up', '-d');
    expect((await ok('ps', '--format', '{{.Service}} {{.State}} {{.Health}}')).split('\n').sort()).toEqual([
      'app running ',
      'proxy running ',
      'store running healthy',
    ]);
    // it clears its lines even where there is no terminal
    expect((await ok('logs', '--no-log-prefix', 'app')).replaceAll('\u001b[2K', '')).toBe(
      'a secret\na setting',
    );
  });

  test('services find each other, and the one that is published is reached', async () => {
    let page = '';
    for (let i = 0; i < 50 && page === ''; i += 1) {
      page = await fetch(`http://127.0.0.1:${port}/index.html`).then(
        (response) => (response.ok ? response.text() : ''),
        () => '',
      );
      if (page === '') await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(page).toBe('stored\n');
    expect(await ok('exec', '-T', 'app', 'sh', '-c', 'echo $MODE; nslookup database')).toMatch(
      /^test\n[^]*Address/,
    );
    expect(await ok('port', 'proxy', '80')).toBe(`127.0.0.1:${port}`);
  });

  test('up again changes nothing, a changed service alone is made anew', async () => {
    const ids = await ok('ps', '-q');
    await ok('up', '-d');
    expect(await ok('ps', '-q')).toBe(ids);
    await writeFile(
      join(project, 'override.yaml'),
      'services: { app: { environment: { MODE: changed } } }\n',
    );
    const files = ['-f', 'compose.yaml', '-f', 'override.yaml'];
    await ok(...files, 'up', '-d');
    expect(await ok('exec', '-T', 'app', 'sh', '-c', 'echo $MODE')).toBe('changed');
    expect((await ok('ps', '-q', 'store')).length).toBe(64);
    expect(ids).toContain(await ok('ps', '-q', 'store'));
  });

  test('scales, runs one-off commands with their exit code, restarts, pauses and shows processes', async () => {
    await ok('up', '-d', '--scale', 'store=2', '--no-recreate');
    expect((await ok('ps', '-q', 'store')).split('\n')).toHaveLength(2);
    const once = await command('run', '--rm', '-T', '-e', 'WHAT=this', 'once');
    expect(once).toMatchObject({ code: 3, stdout: 'ran with this\n' });
    await ok('restart', 'proxy');
    await ok('pause', 'app');
    expect(await ok('ps', '-a', '--format', '{{.State}}', 'app')).toBe('paused');
    await ok('unpause', 'app');
    expect(await ok('top', 'app')).toContain('httpd');
    expect(await ok('cp', 'app:/index.html', '-')).toContain('stored');
  });

  test('build makes the images of services, through BuildKit as through the classic builder', async () => {
    await mkdir(join(project, 'image'));
    await writeFile(
      join(project, 'image/Dockerfile'),
      `FROM ${lab.busybox}\nARG WORD\nCOPY file /file\nRUN echo $WORD >> /file\n`,
    );
    await writeFile(join(project, 'image/file'), 'copied ');
    await writeFile(
      join(project, 'build.yaml'),
      `
name: made
services:
  one: { build: { context: image, args: { WORD: first } }, command: cat /file }
  two: { build: { context: image, args: { WORD: second } }, command: cat /file }
`,
    );
    const made = (args: string[], env: Record<string, string> = {}): Promise<Finished> =>
      run(compose!, ['--progress', 'plain', '-f', 'build.yaml', ...args], {
        cwd: project,
        env: { PATH: process.env.PATH, HOME: project, DOCKER_HOST: lab.host, ...env },
        timeoutMs: 60_000,
      });
    expect(await made(['build'])).toMatchObject({ code: 0 });
    expect(await made(['run', '--rm', '-T', 'one'])).toMatchObject({ code: 0, stdout: 'copied first\n' });
    expect(await made(['run', '--rm', '-T', 'two'])).toMatchObject({ code: 0, stdout: 'copied second\n' });
    expect(await made(['build', '--no-cache', 'one'], { DOCKER_BUILDKIT: '0' })).toMatchObject({ code: 0 });
    expect(await made(['run', '--rm', '-T', 'one'])).toMatchObject({ code: 0, stdout: 'copied first\n' });
    expect(await made(['down', '--rmi', 'local'])).toMatchObject({ code: 0 });
  });

  test('down takes everything away that up made', async () => {
    await ok('down', '-v', '--remove-orphans');
    expect(await lab.ok(['ps', '-aq'])).toBe('');
    expect(await lab.ok(['network', 'ls', '-q', '--filter', 'type=custom'])).toBe('');
    expect(await lab.ok(['volume', 'ls', '-q'])).toBe('');
  });

  test('builds the images of services', async () => {
    await writeFile(
      join(project, 'app/Dockerfile'),
      `FROM ${lab.busybox}\nARG what\nCOPY key /\nRUN echo $what > /built\nCMD ["cat", "/built", "/key"]\n`,
    );
    await writeFile(
      join(project, 'build.yaml'),
      'name: built\nservices: { it: { build: { context: ./app, args: { what: by compose } }, image: "built:it" } }\n',
    );
    const built = await run(compose!, ['-f', 'build.yaml', 'build'], {
      cwd: project,
      env: { PATH: process.env.PATH, HOME: project, DOCKER_HOST: lab.host, DOCKER_BUILDKIT: '0' },
      timeoutMs: 60_000,
    });
    expect(built.code, built.stderr).toBe(0);
    expect(await lab.ok(['run', '--rm', 'built:it'])).toBe('by compose\na secret');
    await lab.ok(['rmi', 'built:it']);
  });
});
