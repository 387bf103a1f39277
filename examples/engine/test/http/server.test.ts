import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { conflict, notFound, notModified } from '../../src/errors.ts';
import type { Route } from '../../src/http/route.ts';
import { serve } from './harness.ts';

const hello: Route = {
  method: 'GET',
  path: '/hello',
  handler: (context) => context.json(200, { version: context.apiVersion }),
};
const echo: Route = {
  method: 'POST',
  path: '/echo',
  job: 'test.echo',
  handler: async (context) =>
    context.json(200, await context.body(z.looseObject({ Tty: z.boolean().optional() }))),
};
/** Reads the JSON body, then sends back what arrives, in capitals, and says goodbye at end-of-input. */
const shout: Route = {
  method: 'POST',
  path: '/shout/:id',
  hijack: true,
  handler: async (context) => {
    if (context.param('id') === 'gone') throw notFound('No such container: gone');
    const body = await context.body(z.object({ Tty: z.boolean().optional() }));
    const { duplex, upgraded } = await context.hijack({ multiplexed: body.Tty !== true });
    duplex.write(`ready ${JSON.stringify(body)} ${upgraded}\n`);
    duplex.on('data', (data: Buffer) => duplex.write(data.toString().toUpperCase()));
    duplex.on('end', () => duplex.end('bye\n'));
  },
};

const upgrade = (path: string, rest: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n${rest}`;

describe('every reply', () => {
  it('carries the version headers, errors included', async () => {
    await using server = await serve([hello]);
    for (const path of ['/hello', '/nope', '/v9.9/hello']) {
      const { headers } = await server.call('GET', path);
      expect(headers['api-version']).toBe('1.51');
      expect(headers['ostype']).toBe('linux');
      expect(headers['server']).toBe('Docker/1.2.3 (linux)');
    }
  });

  it('has the content type exactly application/json', async () => {
    await using server = await serve([hello]);
    for (const path of ['/hello', '/nope']) {
      expect((await server.call('GET', path)).headers['content-type']).toBe('application/json');
    }
  });
});

describe('the version prefix', () => {
  it('is optional, and the newest version is meant without it', async () => {
    await using server = await serve([hello]);
    expect((await server.call('GET', '/hello')).body).toBe('{"version":"1.51"}\n');
    expect((await server.call('GET', '/v1.24/hello')).body).toBe('{"version":"1.24"}\n');
  });

  it("is refused outside the served range in dockerd's words, on every path", async () => {
    await using server = await serve([hello]);
    const old = await server.call('GET', '/v1.10/nope');
    expect(old.status).toBe(400);
    expect(JSON.parse(old.body)).toEqual({
      message:
        'client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version',
    });
    expect(JSON.parse((await server.call('GET', '/v9.9/hello')).body)).toEqual({
      message: 'client version 9.9 is too new. Maximum supported API version is 1.51',
    });
  });
});

describe('errors', () => {
  it('are 404 "page not found" for unknown paths and for wrong methods', async () => {
    await using server = await serve([hello]);
    for (const [method, path] of [
      ['GET', '/nope'],
      ['POST', '/hello'],
      ['GET', '/v1.44/hello/'],
    ] as const) {
      const reply = await server.call(method, path);
      expect(reply.status).toBe(404);
      expect(JSON.parse(reply.body)).toEqual({ message: 'page not found' });
    }
  });

  it('have the status of their class, and a 304 has no body', async () => {
    const failing = (path: string, error: Error): Route => ({
      method: 'GET',
      path,
      handler: () => {
        throw error;
      },
    });
    await using server = await serve([
      failing('/a', conflict('taken')),
      failing('/b', notModified('nothing to do')),
      failing('/c', new Error('disk on fire')),
    ]);
    expect(await server.call('GET', '/a')).toMatchObject({ status: 409, body: '{"message":"taken"}\n' });
    expect(await server.call('GET', '/b')).toMatchObject({ status: 304, body: '' });
    expect(await server.call('GET', '/c')).toMatchObject({
      status: 500,
      body: '{"message":"disk on fire"}\n',
    });
  });

  it('come as a last message once a JSON stream has begun', async () => {
    await using server = await serve([
      {
        method: 'GET',
        path: '/s',
        async handler(context) {
          const reply = context.stream();
          await reply.write('{"status":"x"}\r\n');
          throw conflict('half way');
        },
      },
    ]);
    const { status, body } = await server.call('GET', '/s');
    expect(status).toBe(200);
    expect(body).toBe('{"status":"x"}\r\n{"errorDetail":{"message":"half way"},"error":"half way"}\r\n');
  });
});

describe('request bodies', () => {
  it('need the JSON content type, unless they are empty', async () => {
    await using server = await serve([echo]);
    const refused = await server.call('POST', '/echo', {
      body: '{}',
      headers: { 'Content-Type': 'text/plain' },
    });
    expect(refused.status).toBe(400);
    expect(refused.body).toContain('unsupported Content-Type header (text/plain)');
    expect((await server.call('POST', '/echo')).body).toBe('{}\n');
    expect(
      await server.call('POST', '/echo', {
        body: '{"tty":true}',
        headers: { 'Content-Type': 'application/json; charset=utf-8' },
      }),
    ).toMatchObject({ status: 200, body: '{"Tty":true}\n' });
  });

  it('are refused when malformed, and the engine goes on', async () => {
    await using server = await serve([echo]);
    for (const body of ['{', '{"Tty":"yes"}', '{} {}', '\0', '[1]']) {
      expect((await server.call('POST', '/echo', { body })).status).toBe(400);
    }
    expect((await server.call('POST', '/echo', { body: '{}' })).status).toBe(200);
  });
});

describe('connections', () => {
  it('need no Host header', async () => {
    await using server = await serve([hello]);
    using client = await server.open();
    client.socket.write('GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n');
    expect(await client.toEnd()).toContain('HTTP/1.1 200 OK');
  });

  it('get their answer after shutting down the sending side', async () => {
    const gate = Promise.withResolvers<void>();
    await using server = await serve([
      {
        method: 'GET',
        path: '/slow',
        async handler(context) {
          context.signal.addEventListener('abort', () => gate.resolve());
          await gate.promise;
          context.json(200, { late: true });
        },
      },
    ]);
    using client = await server.open();
    client.socket.end('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(await client.toEnd()).toContain('{"late":true}');
  });

  it('take headers of many kilobytes', async () => {
    await using server = await serve([hello]);
    const { status } = await server.call('GET', '/hello', {
      headers: { 'X-Registry-Config': 'a'.repeat(500_000) },
    });
    expect(status).toBe(200);
  });

  it('get a JSON error for bytes that are no HTTP', async () => {
    await using server = await serve([hello]);
    using client = await server.open();
    client.socket.write('\x16\x03\x01 hello\r\n\r\n');
    const reply = await client.toEnd();
    expect(reply).toContain('HTTP/1.1 400 Bad Request');
    expect(reply).toContain('{"message":"malformed HTTP request"}');
  });

  it('are told apart: an Upgrade header on an ordinary path is ignored', async () => {
    await using server = await serve([hello]);
    const { status, body } = await server.call('GET', '/hello', {
      headers: { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABk' },
    });
    expect({ status, body }).toEqual({ status: 200, body: '{"version":"1.51"}\n' });
  });
});

describe('streamed replies', () => {
  it('send status and headers before there is anything to say', async () => {
    const gate = Promise.withResolvers<void>();
    await using server = await serve([
      {
        method: 'POST',
        path: '/wait',
        async handler(context) {
          const reply = context.stream();
          await gate.promise;
          await reply.write('{"StatusCode":0}\n');
          reply.end();
        },
      },
    ]);
    using client = await server.open();
    client.socket.write('POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n');
    expect(await client.until('\r\n\r\n')).toContain('HTTP/1.1 200 OK');
    gate.resolve();
    await client.until('{"StatusCode":0}');
  });

  it('flow while the request is still being sent', async () => {
    await using server = await serve([
      {
        method: 'POST',
        path: '/build',
        job: 'test.build',
        async handler(context) {
          const reply = context.stream();
          for await (const part of context.bodyStream() as AsyncIterable<Buffer>) {
            await reply.write(`got ${part.toString()}\n`);
          }
          reply.end();
        },
      },
    ]);
    using client = await server.open();
    client.socket.write('POST /build HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n');
    await client.until('got one');
    client.socket.write('3\r\ntwo\r\n0\r\n\r\n');
    await client.until('got two');
  });

  it('abort the signal when the client goes away', async () => {
    const gone = Promise.withResolvers<unknown>();
    await using server = await serve([
      {
        method: 'GET',
        path: '/follow',
        handler(context) {
          context.stream();
          context.signal.addEventListener('abort', () => gone.resolve(context.signal.reason));
        },
      },
    ]);
    using client = await server.open();
    client.socket.write('GET /follow HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.until('\r\n\r\n');
    client.socket.destroy();
    expect(String(await gone.promise)).toContain('the client went away');
  });

  it('end when the server is closed', async () => {
    const server = await serve([
      {
        method: 'GET',
        path: '/follow',
        async handler(context) {
          const reply = context.stream();
          await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
          reply.end();
        },
      },
    ]);
    using client = await server.open();
    client.socket.write('GET /follow HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.until('\r\n\r\n');
    await server[Symbol.asyncDispose]();
    expect(await client.toEnd()).toContain('0\r\n\r\n');
  });
});

describe('hijacked connections', () => {
  it('are upgraded with 101 and the multiplexed content type from 1.42 on', async () => {
    await using server = await serve([shout]);
    for (const [version, type] of [
      ['1.51', 'application/vnd.docker.multiplexed-stream'],
      ['1.41', 'application/vnd.docker.raw-stream'],
    ]) {
      using client = await server.open();
      client.socket.write(upgrade(`/v${version}/shout/a`, '\r\n'));
      const head = await client.until('ready');
      expect(head).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
      expect(head).toContain(`Content-Type: ${type}\r\n`);
      expect(head).toContain('Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
      expect(head).toContain('Api-Version: 1.51');
    }
  });

  const body = '{"Detach":false,"Tty":true}';
  const request = upgrade(
    '/shout/a',
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}to the process`,
  );

  it('keep the JSON body out of the stream, wherever the bytes are split', async () => {
    await using server = await serve([shout]);
    const headEnd = request.indexOf('\r\n\r\n') + 4;
    const cuts = [
      headEnd,
      headEnd + 1,
      headEnd + 10,
      headEnd + body.length,
      headEnd + body.length + 2,
      request.length,
    ];
    for (const cut of cuts) {
      using client = await server.open();
      client.socket.setNoDelay(true);
      client.socket.write(request.slice(0, cut));
      // the server must have seen the first part alone
      await new Promise((resolve) => setImmediate(resolve));
      client.socket.end(request.slice(cut));
      const reply = await client.toEnd();
      expect(reply).toContain('ready {"Tty":true} true\nTO THE PROCESSbye\n');
    }
  });

  it('keep a chunked JSON body out of the stream', async () => {
    await using server = await serve([shout]);
    using client = await server.open();
    client.socket.end(
      upgrade(
        '/shout/a',
        'Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"tty\r\n7;x=y\r\n":true}\r\n0\r\n\r\nraw',
      ),
    );
    expect(await client.toEnd()).toContain('ready {"Tty":true} true\nRAWbye\n');
  });

  it("go on sending after the client's half-close, and are closed by the server at the end", async () => {
    await using server = await serve([shout]);
    using client = await server.open();
    client.socket.write(upgrade('/shout/a', '\r\n'));
    await client.until('ready');
    client.socket.end('last words\n');
    expect(await client.toEnd()).toMatch(/LAST WORDS\nbye\n$/);
  });

  it('are not made when the handler refuses: the error is an ordinary reply', async () => {
    await using server = await serve([shout]);
    using client = await server.open();
    client.socket.write(upgrade('/shout/gone', '\r\n'));
    const reply = await client.toEnd();
    expect(reply).toContain('HTTP/1.1 404 Not Found\r\n');
    expect(reply).toContain('Content-Type: application/json\r\n');
    expect(reply).toContain('{"message":"No such container: gone"}');
  });

  it.each([
    ['a body that ends early', 'Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"Tty"'],
    ['broken chunks', 'Transfer-Encoding: chunked\r\n\r\nxyz\r\n'],
    ['no JSON', 'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{'],
  ])('are refused for %s', async (_what, rest) => {
    await using server = await serve([shout]);
    using client = await server.open();
    client.socket.end(upgrade('/shout/a', rest));
    expect(await client.toEnd()).toContain('HTTP/1.1 400 Bad Request\r\n');
  });

  it('stream without framing for a client that asked for no upgrade, and take its raw input', async () => {
    await using server = await serve([shout]);
    using client = await server.open();
    client.socket.write(
      `POST /v1.44/shout/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const head = await client.until('ready');
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(head).toContain('Content-Type: application/vnd.docker.raw-stream\r\n');
    expect(head).not.toMatch(/transfer-encoding|content-length/i);
    // the beginning of an HTTP method, which a parser would keep to itself
    client.socket.write('P');
    await client.until('P');
    client.socket.end('GET / HTTP/1.1\n');
    expect(await client.toEnd()).toMatch(/ready \{"Tty":true\} false\nPGET \/ HTTP\/1\.1\nbye\n$/);
  });

  it('are cut when the handler fails after the hijack', async () => {
    await using server = await serve([
      {
        method: 'POST',
        path: '/attach',
        hijack: true,
        handler: async (context) => {
          await context.hijack();
          throw new Error('lost the process');
        },
      },
    ]);
    using client = await server.open();
    client.socket.write(upgrade('/attach', '\r\n'));
    expect(await client.toEnd()).toMatch(/^HTTP\/1\.1 101 UPGRADED[^]*\r\n\r\n$/);
  });

  it('skip the empty last chunk that some clients send in place of a body', async () => {
    await using server = await serve([
      {
        method: 'POST',
        path: '/attach',
        hijack: true,
        handler: async (context) => {
          const { duplex } = await context.hijack();
          duplex.pipe(duplex);
        },
      },
    ]);
    using client = await server.open();
    client.socket.end(upgrade('/attach', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nraw'));
    expect(await client.toEnd()).toMatch(/\r\n\r\nraw$/);
  });

  it('are cut when the server is closed', async () => {
    const server = await serve([shout]);
    using client = await server.open();
    client.socket.write(upgrade('/shout/a', '\r\n'));
    await client.until('ready');
    await server[Symbol.asyncDispose]();
    await client.toEnd();
  });
});

describe('routes with a job', () => {
  it('run as one, listed while they run and remembered afterwards', async () => {
    const gate = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    await using server = await serve([
      {
        method: 'POST',
        path: '/containers/:id/stop',
        job: 'container.stop',
        async handler(context) {
          context.job.report({ message: 'waiting' });
          started.resolve();
          await gate.promise;
          context.empty(204);
        },
      },
    ]);
    const reply = server.call('POST', '/containers/c1/stop');
    await started.promise;
    expect(server.jobs.list()).toMatchObject([
      { kind: 'container.stop', subject: 'c1', state: 'running', progress: { message: 'waiting' } },
    ]);
    gate.resolve();
    expect((await reply).status).toBe(204);
    expect(server.jobs.list()).toMatchObject([{ state: 'succeeded' }]);
  });

  it('are cancelled by a client that goes away only when they say so', async () => {
    const aborted: string[] = [];
    const seen = { pull: Promise.withResolvers<void>(), stop: Promise.withResolvers<void>() };
    const route = (name: 'pull' | 'stop', cancelOnDisconnect: boolean): Route => ({
      method: 'POST',
      path: `/${name}`,
      job: name,
      cancelOnDisconnect,
      async handler(context) {
        context.stream();
        context.job.signal.addEventListener('abort', () => aborted.push(name));
        await new Promise((resolve) => context.signal.addEventListener('abort', resolve));
        seen[name].resolve();
      },
    });
    await using server = await serve([route('pull', true), route('stop', false)]);
    for (const name of ['stop', 'pull'] as const) {
      using client = await server.open();
      client.socket.write(`POST /${name} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
      await client.until('\r\n\r\n');
      client.socket.destroy();
      await seen[name].promise;
    }
    expect(aborted).toEqual(['pull']);
  });
});

describe('large uploads', () => {
  it('reach the handler as a stream', async () => {
    await using server = await serve([
      {
        method: 'PUT',
        path: '/archive',
        job: 'test.put',
        async handler(context) {
          let bytes = 0;
          for await (const part of context.bodyStream() as AsyncIterable<Buffer>) bytes += part.length;
          context.json(200, { bytes });
        },
      },
    ]);
    using client = await server.open();
    const size = 8 * 1024 * 1024;
    client.socket.write(
      `PUT /archive HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${size}\r\n\r\n`,
    );
    Readable.from(Array.from({ length: 8 }, () => Buffer.alloc(1024 * 1024))).pipe(client.socket, {
      end: false,
    });
    expect(await client.toEnd()).toContain(`{"bytes":${size}}`);
  });
});
