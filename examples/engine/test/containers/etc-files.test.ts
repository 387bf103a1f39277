import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { hostResolvConf, hostsFile, resolvConf, writeInPlace } from '../../src/containers/etc-files.ts';

const none = { servers: [], search: [], options: [] };

describe('resolvConf', () => {
  it("keeps the host's servers that a container can reach", () => {
    expect(resolvConf('nameserver 127.0.0.1\nnameserver 10.0.0.2\nsearch a b\noptions ndots:2\n', none)).toBe(
      'nameserver 10.0.0.2\nsearch a b\noptions ndots:2\n',
    );
  });

  it('falls back to public servers', () => {
    expect(resolvConf('nameserver ::1\n', none)).toBe('nameserver 8.8.8.8\nnameserver 8.8.4.4\n');
  });

  it("takes the container's own choices", () => {
    expect(
      resolvConf('nameserver 10.0.0.2\nsearch a\n', {
        servers: ['1.1.1.1'],
        search: ['.'],
        options: ['rotate'],
      }),
    ).toBe('nameserver 1.1.1.1\noptions rotate\n');
  });
});

describe('hostResolvConf', () => {
  it('looks behind the stub of systemd-resolved', () => {
    const files: Record<string, string> = {
      '/etc/resolv.conf': 'nameserver 127.0.0.53\n',
      '/run/systemd/resolve/resolv.conf': 'nameserver 10.1.1.1\n',
    };
    expect(hostResolvConf((path) => files[path])).toBe('nameserver 10.1.1.1\n');
  });
});

describe('hostsFile', () => {
  it("ends with the container's own address", () => {
    const text = hostsFile({
      extraHosts: ['db:10.0.0.5', 'host.internal:host-gateway', 'six:[::5]'],
      gateways: ['172.17.0.1'],
      addresses: ['172.17.0.2'],
      names: ['web'],
    });
    expect(text.startsWith('127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost')).toBe(true);
    expect(text.endsWith('10.0.0.5\tdb\n172.17.0.1\thost.internal\n::5\tsix\n172.17.0.2\tweb\n')).toBe(true);
  });
});

describe('writeInPlace', () => {
  it('makes the file, and then keeps it whatever its text becomes', () => {
    const directory = mkdtempSync(join(tmpdir(), 'etc-files-'));
    try {
      const path = join(directory, 'hosts');
      let inode: number | undefined;
      for (const text of ['', 'a long text\n', 'short\n', 'ümläut\n', 'u\n', '']) {
        writeInPlace(path, text);
        expect(readFileSync(path, 'utf8')).toBe(text);
        inode ??= statSync(path).ino;
        expect(statSync(path).ino).toBe(inode);
      }
      truncateSync(path, 3);
      writeInPlace(path, 'x');
      expect(readFileSync(path, 'utf8')).toBe('x');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
