import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { Filters } from '../../src/filters.ts';
import { FakeHost, startEngine, type FakeEngine } from './fakes.ts';

let host: FakeHost;
let engine: FakeEngine;

beforeEach(async () => {
  host = new FakeHost();
  engine = await startEngine(host);
  for (const [name, labels] of [
    ['web', { tier: 'front' }],
    ['db', { tier: 'back' }],
    ['cache', {}],
  ] as const) {
    await engine.create(
      {
        Labels: labels,
        ExposedPorts: name === 'web' ? { '80/tcp': {} } : {},
        HostConfig:
          name === 'web' ? { PortBindings: { '80/tcp': [{ HostPort: '8080' }] } } : { Binds: ['vol:/v'] },
      },
      name,
    );
  }
  await engine.containers.start('web');
  await engine.containers.start('db');
  host.processes.get(engine.containers.find('db').id)!.end(2);
  await engine.containers.wait('db', 'not-running', new AbortController().signal);
});
afterEach(async () => {
  await engine[Symbol.asyncDispose]();
  host[Symbol.dispose]();
});

async function names(
  filters: Record<string, string[]> = {},
  options: { all?: boolean; limit?: number } = {},
) {
  const list = await engine.containers.list(
    {
      all: options.all ?? true,
      limit: options.limit ?? 0,
      filters: new Filters(new Map(Object.entries(filters))),
      size: false,
    },
    '1.51',
  );
  return list.map((item) => (item as { Names: string[] }).Names[0]);
}

describe('listContainers', () => {
  it('shows what runs, or all, newest first', async () => {
    expect(await names({}, { all: false })).toEqual(['/web']);
    expect(await names()).toEqual(['/cache', '/db', '/web']);
    expect(await names({}, { all: false, limit: 2 })).toEqual(['/cache', '/db']);
  });

  it.each<[Record<string, string[]>, string[]]>([
    [{ status: ['exited'] }, ['/db']],
    [{ status: ['created', 'exited'] }, ['/cache', '/db']],
    [{ name: ['we'] }, ['/web']],
    [{ name: ['^/?(db|cache)$'] }, ['/cache', '/db']],
    [{ label: ['tier'] }, ['/db', '/web']],
    [{ label: ['tier=front'] }, ['/web']],
    [{ exited: ['2'] }, ['/db']],
    [{ exited: ['0'] }, []],
    [{ ancestor: ['busybox'] }, ['/cache', '/db', '/web']],
    [{ ancestor: ['nosuch'] }, []],
    [{ before: ['db'] }, ['/web']],
    [{ since: ['db'] }, ['/cache']],
    [{ volume: ['vol'] }, ['/cache', '/db']],
    [{ volume: ['/v'] }, ['/cache', '/db']],
    [{ network: ['bridge'] }, ['/cache', '/db', '/web']],
    [{ publish: ['8080'] }, ['/web']],
    [{ publish: ['80'] }, []],
    [{ expose: ['80/tcp'] }, ['/web']],
    [{ expose: ['80/udp'] }, []],
    [{ health: ['none'], name: ['web'] }, ['/web']],
    [{ health: ['healthy'] }, []],
  ])('%j selects %j', async (filters, expected) => {
    expect(await names(filters)).toEqual(expected);
  });

  it('selects by status whatever runs, without all', async () => {
    expect(await names({ status: ['exited'] }, { all: false })).toEqual(['/db']);
  });

  it.each<[Record<string, string[]>, string]>([
    [{ status: ['nosuch'] }, "invalid filter 'status=nosuch'"],
    [{ exited: ['x'] }, "invalid filter 'exited=x'"],
    [{ name: ['('] }, "invalid filter 'name=('"],
    [{ before: ['nosuch'] }, 'No such container: nosuch'],
    [{ publish: ['http'] }, "invalid filter 'publish=http'"],
  ])('refuses %j', async (filters, message) => {
    await expect(names(filters)).rejects.toThrow(message);
  });
});
