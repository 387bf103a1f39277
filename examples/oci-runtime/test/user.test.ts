/** Small grammars of the command line: a wrong guess in one of them has made people root. */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { expandSlice, placeCgroup } from '../src/bundle.ts';
import { parseDuration } from '../src/commands/events.ts';
import { parseUser } from '../src/commands/exec.ts';
import { signalNumber } from '../src/commands/life.ts';
import { parseBytes } from '../src/commands/update.ts';

describe('a user', () => {
  // CVE-2026-30892: "1" was taken for 0:0; CVE-2016-3697: a number was looked up as a name
  it('is a number, or two with a colon between, and never root unless it says so', () => {
    const id = fc.integer({ min: 0, max: 0xffff_fffe });
    fc.assert(fc.property(id, (uid) => void expect(parseUser(String(uid))).toEqual({ uid })));
    fc.assert(
      fc.property(id, id, (uid, gid) => void expect(parseUser(`${uid}:${gid}`)).toEqual({ uid, gid })),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        if (/^\d+(:\d+)?$/.test(text)) return;
        expect(() => parseUser(text)).toThrow('parsing user');
      }),
    );
    for (const text of [
      '',
      ':',
      '1:',
      ':1',
      '-1',
      '1:-1',
      '0x1',
      '1 ',
      ' 1',
      '1:2:3',
      '4294967295',
      '4294967296',
    ])
      expect(() => parseUser(text), text).toThrow('parsing user');
  });
});

describe('other arguments', () => {
  it('are signals by number and by name', () => {
    expect(['9', 'KILL', 'SIGKILL', 'kill', 'RTMIN+3', 'SIGRTMAX-1', '0'].map(signalNumber)).toEqual([
      9, 9, 9, 9, 37, 63, 0,
    ]);
    for (const text of ['', '65', '-1', 'NOSUCH', 'RTMIN+31', 'RTMAX+1'])
      expect(() => signalNumber(text), text).toThrow('unknown signal');
  });

  it('are amounts of bytes and durations', () => {
    expect(['100', '1k', '2M', '1g', '1.5k', '-1'].map((text) => parseBytes(text, 'memory'))).toEqual([
      100,
      1024,
      2 ** 21,
      2 ** 30,
      1536,
      -1,
    ]);
    for (const text of ['', 'k', '-2', '1x'])
      expect(() => parseBytes(text, 'memory'), text).toThrow('memory');
    expect(['5s', '1m30s', '500ms', '1h'].map(parseDuration)).toEqual([5000, 90_000, 500, 3_600_000]);
    for (const text of ['', '5', 's', '5 s']) expect(() => parseDuration(text), text).toThrow('parse error');
  });

  it('are cgroups of systemd, as the paths that it gives them', () => {
    expect(['system.slice', 'user-1000.slice', '-.slice'].map(expandSlice)).toEqual([
      '/system.slice',
      '/user.slice/user-1000.slice',
      '',
    ]);
    for (const text of ['system', '-a.slice', 'a--b.slice'])
      expect(() => expandSlice(text), text).toThrow('slice');
    const at = (cgroupsPath: string, systemd = true): string | undefined =>
      placeCgroup({ ociVersion: '1.2.0', linux: { cgroupsPath } }, systemd).linux?.cgroupsPath;
    expect(at('system.slice:docker:abc')).toBe('/system.slice/docker-abc.scope');
    expect(at('a-b.slice:cri:c.slice')).toBe('/a.slice/a-b.slice/c.slice');
    expect(at(':p:n')).toBe('/system.slice/p-n.scope');
    expect(at('/plain', false)).toBe('/plain');
    expect(() => at('/plain')).toThrow('slice:prefix:name');
  });
});
