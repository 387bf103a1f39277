import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readCertificateDirectories } from '../src/index.ts';
import { startTestRegistry } from '../src/testing/index.ts';
import { makeCertificate } from './certificate.ts';
import { addImage, collect, describeBytes, noise, quickClient } from './support.ts';

const keys = makeCertificate();
const other = makeCertificate();
afterAll(() => {
  keys?.[Symbol.dispose]();
  other?.[Symbol.dispose]();
});

describe.skipIf(keys === undefined)('HTTP/2', () => {
  test.each([
    ['is spoken where the registry does', true, '2.0'],
    ['can be switched off', false, '1.1'],
  ])('%s', async (_, http2, version) => {
    const bytes = noise(500_000);
    const blob = describeBytes(bytes);
    const versions = new Set<string>();
    const server = createSecureServer({
      key: await readFile(keys!.key),
      cert: await readFile(keys!.certificate),
      allowHTTP1: true,
    });
    server.on('request', (request, response) => {
      versions.add(request.httpVersion);
      const [, from] = /bytes=(\d+)-/.exec(request.headers.range ?? '') ?? [];
      const start = Number(from ?? 0);
      if (from !== undefined) {
        response.setHeader('content-range', `bytes ${start}-${bytes.length - 1}/${bytes.length}`);
      }
      response.writeHead(from === undefined ? 200 : 206);
      if (!request.url!.includes('blobs')) response.end('{}');
      else if (start > 0) response.end(bytes.subarray(start));
      // the first answer breaks off
      else response.write(bytes.subarray(0, 100_000), () => request.socket.destroy());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const sockets = new Set<{ destroy(): void }>();
    server.on('secureConnection', (socket) => sockets.add(socket));
    try {
      const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
      const ca = await readFile(keys!.certificate, 'utf8');
      await using client = quickClient({ http2, tls: { [host]: { ca } } });
      const content = await client.repository(`${host}/app`).fetch(blob);
      expect((await collect(content)).equals(bytes)).toBe(true);
      expect([...versions]).toEqual([version]);
    } finally {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });
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
