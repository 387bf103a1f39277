import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { makeEngineHome, missingForDaemon } from './daemon.ts';
import { call, RawClient } from './http/harness.ts';
import { connect } from 'node:net';

if (missingForDaemon !== undefined) console.warn(`skipping the daemon's tests: ${missingForDaemon}`);

afterEach(() => vi.unstubAllEnvs());

describe.skipIf(missingForDaemon !== undefined)('the daemon', () => {
  it('starts, serves, and leaves nothing after SIGTERM', async () => {
    await using home = await makeEngineHome();
    const daemon = await home.start();
    expect(readFileSync(join(home.directory, 'pid'), 'utf8')).toBe(`${daemon.pid}\n`);
    expect((await call(home.socketPath, 'GET', '/info')).status).toBe(200);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
    expect(existsSync(join(home.directory, 'pid'))).toBe(false);
    expect(existsSync(home.socketPath)).toBe(false);
    expect(daemon.output).not.toContain('"level":50');
  });

  it('ends open streams when it stops', async () => {
    await using home = await makeEngineHome();
    const daemon = await home.start();
    using client = new RawClient(connect({ path: home.socketPath }));
    client.socket.write('GET /events HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.until('\r\n\r\n');
    expect((await daemon.stop('SIGINT')).code).toBe(0);
    expect(await client.toEnd()).toContain('0\r\n\r\n');
  });

  it('takes over what a killed one left', async () => {
    await using home = await makeEngineHome();
    const first = await home.start();
    const { body } = await call(home.socketPath, 'GET', '/info');
    await first.stop('SIGKILL');
    expect(existsSync(home.socketPath)).toBe(true);
    const second = await home.start();
    const again = await call(home.socketPath, 'GET', '/info');
    expect((JSON.parse(again.body) as { ID: string }).ID).toBe((JSON.parse(body) as { ID: string }).ID);
    expect((await second.stop()).code).toBe(0);
  });

  it('is refused beside another one: by pid file, by data root, by socket', async () => {
    await using home = await makeEngineHome();
    const first = await home.start();
    const sameAll = await home.start();
    expect(await sameAll.exited).toMatchObject({ code: 1 });
    expect(sameAll.output).toContain(`process with PID ${first.pid} is still running`);
    const sameData = await home.start(
      '--pidfile',
      join(home.directory, 'pid2'),
      '--host',
      `unix://${home.socketPath}2`,
    );
    expect(await sameData.exited).toMatchObject({ code: 1 });
    expect(sameData.output).toContain(`in use by process ${first.pid}`);
    const sameSocket = await home.start(
      '--pidfile',
      join(home.directory, 'pid3'),
      '--data-root',
      join(home.directory, 'd3'),
    );
    expect(await sameSocket.exited).toMatchObject({ code: 1 });
    expect(sameSocket.output).toContain('another process is listening there');
    expect((await call(home.socketPath, 'GET', '/_ping')).body).toBe('OK');
  });

  it('says what is wrong with its configuration', async () => {
    await using home = await makeEngineHome();
    const file = join(home.directory, 'daemon.json');
    writeFileSync(file, '{"hots":[]}');
    const daemon = await home.start('--config-file', file);
    expect(await daemon.exited).toMatchObject({ code: 1 });
    expect(daemon.output).toBe(
      `unable to configure the engine with file ${file}: ` +
        "the following directives don't match any configuration option: hots (did you mean hosts?)\n",
    );
    const checked = await home.start('--validate');
    expect(await checked.exited).toMatchObject({ code: 0 });
    expect(checked.output).toBe('configuration OK\n');
  });

  it('says in one line why it does not start', { timeout: 30_000 }, async () => {
    await using home = await makeEngineHome();
    const file = join(home.directory, 'file');
    writeFileSync(file, '');
    const long = join(home.directory, 'x'.repeat(100));
    for (const [flags, words] of [
      [['--data-root', file], `cannot make the folder ${file}`],
      [['--host', `unix://${long}`], `cannot listen on ${long}: the path has ${long.length} bytes`],
      [['--host', `unix://${file}`], `cannot listen on ${file}: it exists and is not a socket`],
      [['--group', 'nobody-has-this-group'], 'could not find group nobody-has-this-group'],
    ] as const) {
      const daemon = await home.start(...flags);
      expect(await daemon.exited).toMatchObject({ code: 1 });
      const line = daemon.output.trimEnd().split('\n').at(-1);
      expect(line).toContain(`tare daemon: ${words}`);
      expect(daemon.output).not.toContain('"stack"');
    }
  });

  it('reaches registries through the proxy of its environment', { timeout: 30_000 }, async () => {
    // nobody is there, nor anywhere else in a network of its own: the error names who was asked
    for (const name of ['HTTPS_PROXY', 'https_proxy']) vi.stubEnv(name, 'http://127.0.0.1:9');
    for (const name of ['NO_PROXY', 'no_proxy']) vi.stubEnv(name, '');
    await using home = await makeEngineHome();
    await home.start('--max-download-attempts', '1');
    const { body } = await call(home.socketPath, 'POST', '/images/create?fromImage=192.0.2.1/x&tag=y');
    expect(body).toContain('127.0.0.1:9');
  });

  it('refuses tcp on an address that others can reach', async () => {
    await using home = await makeEngineHome();
    const daemon = await home.start('--host', 'tcp://192.0.2.1:2375');
    expect(await daemon.exited).toMatchObject({ code: 1 });
    expect(daemon.output).toContain('refusing to listen on tcp://192.0.2.1:2375');
    expect(existsSync(join(home.directory, 'pid'))).toBe(false);
  });
});
