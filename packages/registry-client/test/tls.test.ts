import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readCertificateDirectories } from '../src/index.ts';
import { startTestRegistry } from '../src/testing/index.ts';
import { makeCertificate } from './certificate.ts';
import { addImage, quickClient } from './support.ts';

const keys = makeCertificate();
const other = makeCertificate();
afterAll(() => {
  keys?.[Symbol.dispose]();
  other?.[Symbol.dispose]();
});

describe.skipIf(keys === undefined || other === undefined)('TLS of one registry', () => {
  test('trusts the authority that certs.d holds for it, shows the client certificate, and trusts no other', async () => {
    const key = await readFile(keys!.key, 'utf8');
    const cert = await readFile(keys!.certificate, 'utf8');
    await using registry = await startTestRegistry({ tls: { key, cert, ca: cert, requestCert: true } });
    addImage(registry, 'app', 'v1');
    const folder = await mkdtemp(join(tmpdir(), 'tare-certs-'));
    try {
      await mkdir(join(folder, registry.host));
      await writeFile(join(folder, registry.host, 'ca.crt'), cert);
      await writeFile(join(folder, registry.host, 'client.cert'), cert);
      await writeFile(join(folder, registry.host, 'client.key'), key);
      const tls = await readCertificateDirectories([join(folder, 'missing'), folder]);
      expect(tls).toEqual({ [registry.host]: { ca: [cert], cert, key } });
      await using client = quickClient({ tls });
      await client.repository(`${registry.host}/app`).resolve('v1');

      // the same registry with nothing but the client certificate
      await using stranger = quickClient({ tls: { [registry.host]: { ca: [cert] } } });
      await expect(stranger.repository(`${registry.host}/app`).resolve('v1')).rejects.toMatchObject({
        code: 'UNREACHABLE',
      });

      // the wrong authority is not made good by the registry being on loopback
      const wrong = { ca: await readFile(other!.certificate, 'utf8'), cert, key };
      await using misled = quickClient({ tls: { [registry.host]: wrong } });
      await expect(misled.repository(`${registry.host}/app`).resolve('v1')).rejects.toMatchObject({
        code: 'UNREACHABLE',
      });

      await rm(join(folder, registry.host, 'client.key'));
      await expect(readCertificateDirectories([folder])).rejects.toMatchObject({
        code: 'INVALID_CREDENTIALS',
        message: expect.stringContaining('client.key'),
      });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
