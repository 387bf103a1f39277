import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../src/config.ts';

let directory: string;
let file: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'tare-config-'));
  file = join(directory, 'daemon.json');
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const load = async (content: string, ...flags: string[]) => {
  await writeFile(file, content);
  return loadConfig(['--config-file', file, ...flags]).config;
};

describe('loadConfig', () => {
  it("takes dockerd's flags", () => {
    const { config } = loadConfig(
      (
        '--config-file /dev/null -H unix:///a.sock --host tcp://127.0.0.1:0 --data-root /d --exec-root /e ' +
        '--pidfile /p --registry-mirror http://127.0.0.1:5000 --insecure-registry 10.0.0.0/8 -l warn -G wheel'
      ).split(' '),
    );
    expect(config).toMatchObject({
      hosts: ['unix:///a.sock', 'tcp://127.0.0.1:0'],
      dataRoot: '/d',
      execRoot: '/e',
      pidfile: '/p',
      registryMirrors: ['http://127.0.0.1:5000'],
      insecureRegistries: ['10.0.0.0/8'],
      logLevel: 'warn',
      group: 'wheel',
      groupExplicit: true,
    });
  });

  it.each([
    ['{}', undefined],
    ['{"builder":{"gc":{"defaultKeepStorage":"20GB"}}}', 20_000_000_000],
    ['{"builder":{"gc":{"defaultKeepStorage":"512"}}}', 512],
    ['{"builder":{"gc":{"enabled":false,"defaultKeepStorage":"1k"}}}', Number.POSITIVE_INFINITY],
  ])('reads how much the build cache may take from %s', async (content, bytes) => {
    expect((await load(content)).buildCacheBytes).toBe(bytes);
  });

  it('refuses a size that is none', async () => {
    await expect(load('{"builder":{"gc":{"defaultKeepStorage":"much"}}}')).rejects.toThrow(
      'expected a size like 20GB',
    );
  });

  it.each([
    ['', { kind: 'plain', insists: false }],
    ['--tls=false', { kind: 'plain', insists: true }],
    ['--tls', { kind: 'encrypted', cert: '/etc/tare/cert.pem', key: '/etc/tare/key.pem' }],
    [
      '--tlsverify --tlscacert /c --tlscert /d --tlskey /e',
      { kind: 'verified', ca: '/c', cert: '/d', key: '/e' },
    ],
  ])('reads how tcp is protected from %j', (flags, tcp) => {
    const { config } = loadConfig(['--config-file', '/dev/null', ...flags.split(' ').filter(Boolean)]);
    expect(config.tcp).toEqual(tcp);
  });

  it('reads the same from the file', async () => {
    expect(
      await load('{"registry-mirrors":["https://m.example"],"data-root":"/d","debug":true}'),
    ).toMatchObject({
      registryMirrors: ['https://m.example'],
      dataRoot: '/d',
      logLevel: 'debug',
    });
  });

  it('takes an empty file for no file, and needs one that was asked for', async () => {
    expect((await load('')).dataRoot).toBe('/var/lib/tare');
    expect(() => loadConfig(['--config-file', join(directory, 'missing.json')])).toThrow('no such file');
  });

  it("refuses unknown keys in dockerd's words", async () => {
    await expect(load('{"data-root":"/d","nope":1,"hots":[]}')).rejects.toThrow(
      "the following directives don't match any configuration option: nope, hots (did you mean hosts?)",
    );
    await expect(load('{"registry-mirors":[]}')).rejects.toThrow('(did you mean registry-mirrors?)');
    await expect(load('{"bip":"10.0.0.1/24"}')).rejects.toThrow(
      'configuration option: bip (dockerd has it, Tare does not: take it out)',
    );
  });

  it('refuses a key given as a flag and in the file', async () => {
    await expect(load('{"hosts":["unix:///b.sock"]}', '-H', 'unix:///a.sock')).rejects.toThrow(
      'the following directives are specified both as a flag and in the configuration file: ' +
        'hosts: (from flag: [unix:///a.sock], from file: [unix:///b.sock])',
    );
  });

  it.each([
    ['{', 'JSON'],
    ['[]', 'expected a JSON object'],
    ['\uFEFF{}', 'byte order mark'],
    ['{"registry-mirrors":["m.example"]}', 'registry-mirrors'],
    ['{"registry-mirrors":["https://user:pw@m.example"]}', 'registry-mirrors'],
    ['{"hosts":["/run/x.sock"]}', 'hosts'],
    ['{"log-level":"loud"}', 'log-level'],
    ['{"max-concurrent-downloads":0}', 'max-concurrent-downloads'],
  ])('refuses %s', async (content, part) => {
    await expect(load(content)).rejects.toThrow(part);
  });

  it('takes folders from where the daemon was started', () => {
    const { config } = loadConfig('--config-file /dev/null --data-root d --exec-root ./e -p p'.split(' '));
    const here = process.cwd();
    expect(config).toMatchObject({ dataRoot: `${here}/d`, execRoot: `${here}/e`, pidfile: `${here}/p` });
  });

  it.each([['--nope'], ['--data-root'], ['positional'], ['--max-download-attempts', 'x']])(
    'refuses %s on the command line',
    (...flags) => {
      expect(() => loadConfig(['--config-file', '/dev/null', ...flags])).toThrow(
        expect.objectContaining({ code: 'INVALID' }),
      );
    },
  );
});
