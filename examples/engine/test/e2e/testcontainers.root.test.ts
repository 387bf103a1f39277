/** testcontainers, as projects use it in their own tests. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type * as Testcontainers from 'testcontainers';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`testcontainers${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  let library: typeof Testcontainers;
  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'tc-'));
    process.env.DOCKER_HOST = lab.host;
    // its reaper is an image of Docker Hub
    process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';
    library = await import('testcontainers');
  });
  afterAll(async () => {
    delete process.env.DOCKER_HOST;
    // it never removes its lock
    await rm(join(tmpdir(), 'testcontainers-node-0.lock'), { force: true });
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  /** What a stream gives until `end` was in it: these logs go on for as long as the container runs. */
  async function firstOf(stream: Readable, end: string): Promise<string> {
    let seen = '';
    for await (const chunk of stream as AsyncIterable<Buffer | string>) {
      seen += chunk.toString();
      if (seen.includes(end)) break;
    }
    return seen;
  }

  test('a container with a port is waited for, reached, run in, copied to and from, and stopped', async () => {
    const { GenericContainer, Wait } = library;
    await writeFile(join(folder, 'page'), 'a page');
    const container = await new GenericContainer(lab.busybox)
      .withCommand(['sh', '-c', 'echo starting; sleep 0.2; echo ready; exec httpd -f -p 8080 -h /www'])
      .withExposedPorts(8080)
      .withEnvironment({ WHO: 'testcontainers' })
      .withLabels({ purpose: 'test' })
      .withCopyFilesToContainer([{ source: join(folder, 'page'), target: '/www/index.html' }])
      .withCopyContentToContainer([{ content: 'inline', target: '/www/inline' }])
      .withWaitStrategy(Wait.forAll([Wait.forLogMessage('ready'), Wait.forListeningPorts()]))
      .start();
    const url = `http://${container.getHost()}:${container.getMappedPort(8080)}`;
    expect(await (await fetch(`${url}/`)).text()).toBe('a page');
    expect(await (await fetch(`${url}/inline`)).text()).toBe('inline');
    const { output, exitCode } = await container.exec(['sh', '-c', 'echo $WHO; echo err >&2; exit 5']);
    expect({ output, exitCode }).toEqual({ output: 'testcontainers\nerr\n', exitCode: 5 });
    expect(await firstOf(await container.logs(), 'ready')).toContain('starting\nready\n');
    expect(await text(await container.copyArchiveFromContainer('/www/inline'))).toContain('inline');
    await container.restart();
    await container.stop();
    expect(await lab.ok(['ps', '-aq'])).toBe('');
  });

  test('networks with aliases, and health checks that are waited for', async () => {
    const { GenericContainer, Network, Wait } = library;
    const network = await new Network().start();
    const server = await new GenericContainer(lab.busybox)
      .withCommand(['sh', '-c', 'echo served > /index.html; exec httpd -f -p 80'])
      .withNetwork(network)
      .withNetworkAliases('server')
      .withHealthCheck({
        test: ['CMD', 'wget', '-qO-', 'http://localhost/'],
        interval: 100,
        retries: 50,
        timeout: 1000,
      })
      .withWaitStrategy(Wait.forHealthCheck())
      .start();
    const client = await new GenericContainer(lab.busybox)
      .withCommand(['sleep', '600'])
      .withNetwork(network)
      .start();
    expect((await client.exec(['wget', '-qO-', 'http://server/'])).output).toBe('served\n');
    await client.stop();
    await server.stop();
    await network.stop();
  });

  test('an image of a Dockerfile', async () => {
    const { GenericContainer, Wait } = library;
    await writeFile(
      join(folder, 'Dockerfile'),
      `FROM ${lab.busybox}\nARG what\nCOPY page /page\nRUN echo $what > /what\nCMD ["sh", "-c", "cat /what /page; echo; sleep 600"]\n`,
    );
    const image = await GenericContainer.fromDockerfile(folder)
      .withBuildArgs({ what: 'built' })
      .build('from/dockerfile:1', { deleteOnExit: false });
    const container = await image.withWaitStrategy(Wait.forLogMessage('a page')).start();
    expect(await firstOf(await container.logs(), 'a page')).toBe('built\na page\n');
    await container.stop();
    await lab.ok(['rmi', 'from/dockerfile:1']);
  });
});
