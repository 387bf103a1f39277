/** The API over tcp, with TLS that checks clients too, driven by the stock CLI and ours. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const folder = mkdtempSync(join(tmpdir(), 'tls-'));
const missing = missingForEndToEnd() ?? makeCertificates();

/** A CA, and below it a certificate for the engine and one for a client. */
function makeCertificates(): string | undefined {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  try {
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=ca', '-days', '2');
    for (const [name, extension] of [
      ['server', 'subjectAltName=IP:127.0.0.1'],
      ['client', 'extendedKeyUsage=clientAuth'],
    ]) {
      openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
      writeFileSync(join(folder, `${name}.ext`), extension!);
      const ca = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', `${name}.ext`];
      openssl('x509', '-req', '-in', `${name}.csr`, ...ca, '-out', `${name}.pem`, '-days', '2');
    }
    return undefined;
  } catch (error) {
    return `openssl: ${(error as Error).message}`;
  }
}

describe.skipIf(missing !== undefined)(`TLS${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let address: string;
  const file = (name: string) => join(folder, name);
  const trust = ['--tlsverify', '--tlscacert', file('ca.pem')];
  const identity = ['--tlscert', file('client.pem'), '--tlskey', file('client.key')];

  beforeAll(async () => {
    const own = ['--tlscert', file('server.pem'), '--tlskey', file('server.key')];
    lab = await startLab({ flags: ['--host', 'tcp://127.0.0.1:0', ...trust, ...own] });
    address = /tcp:\/\/127\.0\.0\.1:\d+/.exec(lab.daemon.output())![0];
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  const docker = (args: string[], flags: string[], input?: string) =>
    run('docker', ['-H', address, ...flags, ...args], input === undefined ? {} : { input });

  test('a client with a certificate has its streams, half-closed too', async () => {
    await lab.ok(['pull', '-q', lab.busybox]);
    const answer = await docker(
      ['run', '--rm', '-i', lab.busybox, 'sh', '-c', 'wc -c; echo done >&2'],
      [...trust, ...identity],
      'x'.repeat(100_000),
    );
    expect(answer).toEqual({ stdout: '100000\n', stderr: 'done\n', code: 0 });
  });

  test('a client without one is shown the door', async () => {
    const answer = await docker(['version'], trust);
    expect(answer.code).not.toBe(0);
    expect(answer.stderr).toMatch(/certificate/);
    expect((await docker(['version'], [])).stderr).toMatch(/HTTP|connect/i);
  });

  test('our own command speaks it too', async () => {
    const tare = await lab.tare([
      '-H',
      address,
      ...trust,
      ...identity,
      'version',
      '-f',
      '{{.Server.Version}}',
    ]);
    expect(tare).toMatchObject({ code: 0, stderr: '' });
  });
});
