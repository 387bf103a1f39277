import { statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listen } from '../../src/http/listen.ts';

const nobody = { group: { name: '', required: false }, plainTcp: false };
const group = (name: string, required: boolean) => ({ group: { name, required }, plainTcp: false });
let directory: string;
let servers: Server[];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tare-listen-'));
  servers = [];
});
afterEach(async () => {
  for (const server of servers) server.close();
  await rm(directory, { recursive: true, force: true });
});
const server = (): Server => {
  const made = createServer();
  servers.push(made);
  return made;
};

describe('listen', () => {
  it('makes a unix socket of mode 0660', async () => {
    const path = join(directory, 'deep', 's.sock');
    expect(await listen(server(), `unix://${path}`, nobody)).toBe(`unix://${path}`);
    expect(statSync(path).mode & 0o7777).toBe(0o660);
  });

  it('gives the socket to the group, when it exists', async () => {
    const path = join(directory, 's.sock');
    await listen(server(), `unix://${path}`, group('root', true));
    expect(statSync(path).gid).toBe(0);
    await listen(server(), `unix://${join(directory, 'b.sock')}`, group('no-such-group', false));
    await expect(
      listen(server(), `unix://${join(directory, 'c.sock')}`, group('no-such-group', true)),
    ).rejects.toThrow('could not find group no-such-group');
  });

  it('replaces the socket a killed engine left, but not one that answers nor a file', async () => {
    const path = join(directory, 's.sock');
    const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', program]);
    expect(statSync(path).isSocket()).toBe(true);
    await listen(server(), `unix://${path}`, nobody);
    await expect(listen(server(), `unix://${path}`, nobody)).rejects.toThrow('another process is listening');
    const file = join(directory, 'file');
    writeFileSync(file, '');
    await expect(listen(server(), `unix://${file}`, nobody)).rejects.toThrow('not a socket');
  });

  it('serves loopback tcp and tells the port it got', async () => {
    expect(await listen(server(), 'tcp://127.0.0.1:0', nobody)).toMatch(/^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
  });

  it.each([
    'tcp://0.0.0.0:2375',
    'tcp://192.0.2.1:2375',
    'tcp://example.com:1',
    'tcp://127.0.0.1',
    'tcp://127.evil.example:1',
  ])('refuses %s', async (host) => {
    await expect(listen(server(), host, nobody)).rejects.toMatchObject({ code: 'INVALID' });
  });

  it('serves every address in the clear to a user who insists', async () => {
    const insisting = { ...nobody, plainTcp: true };
    expect(await listen(server(), 'tcp://0.0.0.0:0', insisting)).toMatch(/^tcp:\/\/0\.0\.0\.0:[1-9]\d*$/);
    await expect(listen(server(), 'tcp://127.evil.example:1', insisting)).rejects.toMatchObject({
      code: 'INVALID',
    });
  });
});
