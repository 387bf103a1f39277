import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { FakeHost, FakeProcess, startEngine, type FakeEngine } from '../../containers/fakes.ts';
import { serve } from '../harness.ts';

let host: FakeHost;
let engine: FakeEngine;
let server: Awaited<ReturnType<typeof serve>>;

beforeEach(async () => {
  host = new FakeHost();
  engine = await startEngine(host);
  server = await serve(engine.routes);
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
  host[Symbol.dispose]();
});

async function call(method: string, path: string, body?: object) {
  const reply = await server.call(method, path, body ? { body: JSON.stringify(body) } : {});
  return { status: reply.status, json: reply.body === '' ? undefined : (JSON.parse(reply.body) as unknown) };
}

const upgrade = (path: string, body = ''): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n` +
  `Content-Length: ${body.length}\r\n\r\n${body}`;

async function create(body: object = {}, name = 'web'): Promise<string> {
  const { status, json } = await call('POST', `/containers/create?name=${name}`, {
    Image: 'busybox',
    ...body,
  });
  expect(status).toBe(201);
  expect(json).toEqual({ Id: expect.stringMatching(/^[0-9a-f]{64}$/) as string, Warnings: [] });
  return (json as { Id: string }).Id;
}

describe('the end-points of containers', () => {
  it.each([
    ['GET', '/containers/nosuch/json', 404, 'No such container: nosuch'],
    ['POST', '/containers/nosuch/start', 404, 'No such container: nosuch'],
    ['DELETE', '/containers/nosuch', 404, 'No such container: nosuch'],
    ['GET', '/containers/nosuch/logs', 400, 'Bad parameters: you must choose at least one stream'],
    ['GET', '/containers/nosuch/logs?stdout=1', 404, 'No such container: nosuch'],
    ['POST', '/containers/nosuch/wait?condition=x', 400, 'invalid condition: "x"'],
    ['POST', '/containers/nosuch/resize?h=x&w=1', 400, 'invalid resize height "x"'],
    ['GET', '/exec/nosuch/json', 404, 'No such exec instance: nosuch'],
    ['GET', '/networks/nosuch', 404, 'network nosuch not found'],
    ['GET', '/volumes/nosuch', 404, 'get nosuch: no such volume'],
    ['GET', '/containers/json?filters=%7B%22nosuch%22%3A%5B%5D%7D', 400, "invalid filter 'nosuch'"],
  ])('%s %s answers %i', async (method, path, status, message) => {
    expect(await call(method, path)).toEqual({ status, json: { message } });
  });

  it('refuses an empty request and a missing image as dockerd does', async () => {
    expect(await call('POST', '/containers/create', {})).toMatchObject({
      status: 400,
      json: { message: 'config cannot be empty in order to create a container' },
    });
    expect(await call('POST', '/containers/create', { Image: 'nosuch' })).toMatchObject({
      status: 404,
      json: { message: 'No such image: nosuch:latest' },
    });
  });

  it('lead a container through its life', async () => {
    const id = await create();
    expect(await call('POST', '/containers/web/start')).toEqual({ status: 204, json: undefined });
    expect((await call('POST', '/containers/web/start')).status).toBe(304);
    expect(await call('GET', '/containers/json')).toMatchObject({ json: [{ Id: id, State: 'running' }] });
    expect(await call('POST', '/containers/web/update', { CpuShares: 512 })).toEqual({
      status: 200,
      json: { Warnings: null },
    });
    expect((await call('POST', '/containers/web/pause')).status).toBe(204);
    expect((await call('POST', '/containers/web/unpause')).status).toBe(204);
    expect((await call('POST', '/containers/web/rename?name=site')).status).toBe(204);
    expect((await call('DELETE', '/containers/site')).status).toBe(409);
    expect((await call('POST', '/containers/site/stop?t=1')).status).toBe(204);
    expect((await call('POST', '/containers/site/stop')).status).toBe(304);
    expect((await call('POST', '/containers/site/kill')).status).toBe(409);
    expect((await call('GET', '/containers/site/json')).json).toMatchObject({
      State: { Status: 'exited', ExitCode: 143 },
      HostConfig: { CpuShares: 512 },
    });
    expect(await call('POST', '/containers/prune')).toEqual({
      status: 200,
      json: { ContainersDeleted: [id], SpaceReclaimed: 10 },
    });
    expect(await call('POST', '/containers/prune')).toMatchObject({ json: { ContainersDeleted: null } });
  });

  it('send the headers of a wait at once, and its body at the exit', async () => {
    const id = await create();
    using client = await server.open();
    client.socket.write(`POST /containers/${id}/wait?condition=next-exit HTTP/1.1\r\nHost: x\r\n\r\n`);
    await client.until('200 OK');
    expect(client.received).not.toContain('StatusCode');
    await call('POST', '/containers/web/start');
    host.processes.get(id)!.end(3);
    expect(await client.until('StatusCode')).toContain('{"StatusCode":3}');
  });

  it('carry stdio over a taken-over connection, attached before the start', async () => {
    const id = await create({ OpenStdin: true, StdinOnce: true, AttachStdin: true });
    using client = await server.open();
    client.socket.write(upgrade(`/v1.45/containers/${id}/attach?stdin=1&stdout=1&stderr=1&stream=1`));
    const head = await client.until('\r\n\r\n');
    expect(head).toContain('HTTP/1.1 101 UPGRADED');
    expect(head).toContain('Content-Type: application/vnd.docker.multiplexed-stream');
    client.socket.end('input\n');
    let stdin: string[] = [];
    host.onCreate = (process) => {
      ({ stdin } = process);
      process.onEndOfInput = () => {
        process.say('output\n');
        process.end(0);
      };
    };
    await call('POST', '/containers/web/start');
    const all = await client.toEnd();
    expect(all.slice(head.length)).toBe('\x01\0\0\0\0\0\0\x07output\n');
    expect(stdin.join('')).toBe('input\nEOF');
  });

  it('answer an attach that cannot be with an ordinary error', async () => {
    using client = await server.open();
    client.socket.write(upgrade('/containers/nosuch/attach?stream=1'));
    expect(await client.until('No such container')).toContain('HTTP/1.1 404 Not Found');
  });

  it('run an exec, and know its exit code when the stream has ended', async () => {
    const id = await create();
    await call('POST', '/containers/web/start');
    const child = new FakeProcess('exec', 42);
    host.processes.get(id)!.onExec = () => {
      setImmediate(() => {
        child.say('out\n');
        child.end(5);
      });
      return child;
    };
    const made = await call('POST', '/containers/web/exec', {
      Cmd: ['x'],
      AttachStdout: true,
      AttachStdin: true,
    });
    expect(made.status).toBe(201);
    const exec = (made.json as { Id: string }).Id;
    using client = await server.open();
    client.socket.write(upgrade(`/exec/${exec}/start`, '{"Detach":false,"Tty":false}'));
    expect((await client.toEnd()).endsWith('\x01\0\0\0\0\0\0\x04out\n')).toBe(true);
    expect(child.stdin.join('')).not.toContain('Detach');
    expect((await call('GET', `/exec/${exec}/json`)).json).toMatchObject({ ExitCode: 5, Running: false });
    expect((await call('POST', `/exec/${exec}/start`, { Detach: true })).status).toBe(409);
  });

  it('frame logs, stamp them, and follow them to the end', async () => {
    const id = await create();
    await call('POST', '/containers/web/start');
    const log = join(host.directory, 'data', 'containers', id, `${id}-json.log`);
    const entry = (text: string, stream: string): string =>
      `${JSON.stringify({ log: `${text}\n`, stream, time: '2026-01-01T00:00:00.5Z' })}\n`;
    appendFileSync(log, entry('a', 'stdout') + entry('b', 'stderr'));
    expect((await server.call('GET', '/containers/web/logs?stdout=1&stderr=1&timestamps=1')).body).toBe(
      '\x01\0\0\0\0\0\0!2026-01-01T00:00:00.500000000Z a\n\x02\0\0\0\0\0\0!2026-01-01T00:00:00.500000000Z b\n',
    );
    expect((await server.call('GET', '/containers/web/logs?stderr=1&tail=1')).body).toBe(
      '\x02\0\0\0\0\0\0\x02b\n',
    );
    using client = await server.open();
    client.socket.write('GET /containers/web/logs?stdout=1&follow=1&tail=0 HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.until('200 OK');
    appendFileSync(log, entry('late', 'stdout'));
    await client.until('late');
    host.processes.get(id)!.end(0);
    expect(await client.until('0\r\n\r\n')).toContain('application/vnd.docker.multiplexed-stream');
  });

  it('sample once, twice or for ever', async () => {
    await create();
    expect(await call('GET', '/containers/web/stats?stream=0')).toMatchObject({ json: { name: '/web' } });
    await call('POST', '/containers/web/start');
    expect(await call('GET', '/containers/web/stats?stream=0&one-shot=1')).toMatchObject({
      json: { preread: '0001-01-01T00:00:00Z' },
    });
    expect((await call('GET', '/containers/web/stats?stream=1&one-shot=1')).status).toBe(400);
  });
});

describe('the end-points of networks and volumes', () => {
  it('make, show and remove networks', async () => {
    const made = await call('POST', '/networks/create', {
      Name: 'app',
      IPAM: { Config: [{ Subnet: '10.1.0.0/24' }] },
    });
    expect(made).toMatchObject({ status: 201, json: { Warning: '' } });
    expect((await call('GET', '/networks/app')).json).toMatchObject({
      IPAM: { Config: [{ Subnet: '10.1.0.0/24' }] },
    });
    expect((await call('GET', '/networks')).json).toHaveLength(4);
    await create();
    expect((await call('POST', '/networks/app/connect', { Container: 'web' })).status).toBe(200);
    expect((await call('POST', '/networks/app/connect', { Container: 'web' })).status).toBe(403);
    expect((await call('POST', '/networks/app/disconnect', { Container: 'web' })).status).toBe(200);
    expect((await call('DELETE', '/networks/app')).status).toBe(204);
    expect((await call('DELETE', '/networks/bridge')).status).toBe(403);
  });

  it('make, show and remove volumes', async () => {
    expect(await call('POST', '/volumes/create', { Name: 'data', Driver: 'local' })).toMatchObject({
      status: 201,
      json: { Name: 'data', Driver: 'local', Labels: null, Options: null, Scope: 'local' },
    });
    expect((await call('GET', '/volumes')).json).toMatchObject({
      Volumes: [{ Name: 'data' }],
      Warnings: null,
    });
    expect((await call('DELETE', '/volumes/data')).status).toBe(204);
    expect((await call('POST', '/volumes/prune')).json).toEqual({ VolumesDeleted: [], SpaceReclaimed: 0 });
  });
});
