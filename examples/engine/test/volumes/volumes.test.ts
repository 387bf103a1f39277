import { existsSync, linkSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { Filters } from '../../src/filters.ts';
import { directorySize } from '../../src/volumes/volumes.ts';
import { FakeHost, startEngine, type FakeEngine } from '../containers/fakes.ts';

let host: FakeHost;
let engine: FakeEngine;

beforeEach(async () => {
  host = new FakeHost();
  engine = await startEngine(host);
});
afterEach(async () => {
  await engine[Symbol.asyncDispose]();
  host[Symbol.dispose]();
});

const all = new Filters();
const request = (name: string) => ({ name, driver: 'local' });

describe('volumes', () => {
  it('are directories, and made once only', async () => {
    const made = await engine.volumes.create({ ...request('data'), labels: { a: 'b' } });
    expect(existsSync(engine.volumes.mountpoint('data'))).toBe(true);
    expect(await engine.volumes.create(request('data'))).toEqual(made);
    const both = await Promise.all([
      engine.volumes.create(request('two')),
      engine.volumes.create(request('two')),
    ]);
    expect(both[0]).toEqual(both[1]);
    expect(engine.volumes.list(all).map(({ name }) => name)).toEqual(['data', 'two']);
  });

  it('get a random name and a label when nobody names them', async () => {
    const { name, labels, anonymous } = await engine.volumes.create(request(''));
    expect(name).toMatch(/^[0-9a-f]{64}$/);
    expect(labels).toEqual({ 'com.docker.volume.anonymous': '' });
    expect(anonymous).toBe(true);
  });

  it.each(['x', '../up', 'a/b', '.hidden'])('refuse the name %s', async (name) => {
    await expect(engine.volumes.create(request(name))).rejects.toMatchObject({ code: 'INVALID' });
  });

  it('say what they cannot do', async () => {
    await expect(engine.volumes.create({ name: 'data', driver: 'nfs' })).rejects.toThrow(
      'plugin "nfs" not found',
    );
    await expect(
      engine.volumes.create({ ...request('data'), options: { type: 'nfs', device: ':/x' } }),
    ).rejects.toMatchObject({ code: 'NOT_IMPLEMENTED' });
    await expect(engine.volumes.create({ ...request('data'), options: { bogus: '1' } })).rejects.toThrow(
      'invalid option: "bogus"',
    );
  });

  it('with options are mounted for those who run, once', async () => {
    const options = { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' };
    await engine.volumes.create({ ...request('memory'), options });
    await engine.volumes.acquire('memory', 'a');
    await engine.volumes.acquire('memory', 'b');
    expect(host.mounted).toEqual([engine.volumes.mountpoint('memory')]);
    await engine.volumes.release('a');
    expect(host.mounted).toHaveLength(1);
    await engine.volumes.release('b');
    expect(host.mounted).toEqual([]);
    expect(await engine.volumes.size('memory')).toBe(-1);
  });

  it('are not removed over what somebody mounted into them', async () => {
    await engine.volumes.create(request('data'));
    host.mounted.push(`${engine.volumes.mountpoint('data')}/elsewhere`);
    await expect(engine.volumes.remove('data')).rejects.toThrow('elsewhere is mounted: unmount it first');
    host.mounted.length = 0;
    await engine.volumes.remove('data');
  });

  it('show nothing of a filling that failed', async () => {
    await engine.volumes.create(request('data'));
    const failing = engine.volumes.populate('data', (directory) => {
      writeFileSync(join(directory, 'half'), '');
      return Promise.reject(new Error('disk full'));
    });
    await expect(failing).rejects.toThrow('disk full');
    expect(readdirSync(engine.volumes.mountpoint('data'))).toEqual([]);
    expect(readdirSync(dirname(engine.volumes.mountpoint('data')))).toEqual(['_data']);
  });

  it('cannot be removed while a container has them', async () => {
    const id = await engine.create({ HostConfig: { Binds: ['data:/v'] } });
    await expect(engine.volumes.remove('data')).rejects.toThrow(`remove data: volume is in use - [${id}]`);
    expect(engine.volumes.list(new Filters(new Map([['dangling', ['true']]])))).toEqual([]);
    await engine.containers.remove(id, { force: false, volumes: true });
    await engine.volumes.remove('data');
    await expect(engine.volumes.remove('data')).rejects.toThrow('get data: no such volume');
    await engine.volumes.remove('data', { force: true });
    expect(readdirSync(dirname(dirname(engine.volumes.mountpoint('data'))))).toEqual([]);
  });

  it('go with their container when nobody named them, if asked for', async () => {
    const withVolume = { Volumes: { '/v': {} } };
    const [kept, gone] = [await engine.create(withVolume), await engine.create(withVolume)];
    await engine.containers.remove(gone, { force: false, volumes: true });
    expect(engine.volumes.list(all)).toHaveLength(1);
    await engine.containers.remove(kept, { force: false, volumes: false });
    expect(engine.volumes.list(all)).toHaveLength(1);
  });

  it('stay while another container has them by --volumes-from', async () => {
    const first = await engine.create({ Volumes: { '/v': {} } }, 'first');
    const second = await engine.create({ HostConfig: { VolumesFrom: ['first:ro'] } });
    expect(engine.containers.find(second).record.mounts).toMatchObject([
      { destination: '/v', readWrite: false },
    ]);
    await engine.containers.remove(first, { force: false, volumes: true });
    expect(engine.volumes.list(all)).toHaveLength(1);
  });

  it('prune the nameless, or all', async () => {
    await engine.volumes.create(request('named'));
    const { name } = await engine.volumes.create(request(''));
    writeFileSync(join(engine.volumes.mountpoint(name), 'f'), 'x'.repeat(100));
    expect(await engine.volumes.prune(all, false)).toEqual({ deleted: [name], spaceReclaimed: 100 });
    expect((await engine.volumes.prune(all, true)).deleted).toEqual(['named']);
  });

  it('are swept when they were never recorded, but for those with files', async () => {
    const root = dirname(dirname(engine.volumes.mountpoint('x')));
    mkdirSync(join(root, 'stray', '_data'), { recursive: true });
    mkdirSync(join(root, 'full', '_data'), { recursive: true });
    writeFileSync(join(root, 'full', '_data', 'f'), '');
    await engine[Symbol.asyncDispose]();
    engine = await startEngine(host);
    expect(readdirSync(root)).toEqual(['full']);
  });
});

describe('binds', () => {
  it('make their source when it is missing; explicit mounts do not', async () => {
    const source = join(host.directory, 'new', 'dir');
    await engine.create({ HostConfig: { Binds: [`${source}:/b`] } });
    expect(existsSync(source)).toBe(true);
    const missing = join(host.directory, 'missing');
    const mount = { Type: 'bind', Source: missing, Target: '/b' };
    await expect(engine.create({ HostConfig: { Mounts: [mount] } })).rejects.toThrow(
      `invalid mount config for type "bind": bind source path does not exist: ${missing}`,
    );
    await engine.create({ HostConfig: { Mounts: [{ ...mount, BindOptions: { CreateMountpoint: true } }] } });
    expect(existsSync(missing)).toBe(true);
  });
});

describe('directorySize', () => {
  it('adds files, hard links once', async () => {
    const directory = join(host.directory, 'sizes');
    mkdirSync(join(directory, 'sub'), { recursive: true });
    writeFileSync(join(directory, 'a'), 'x'.repeat(10));
    writeFileSync(join(directory, 'sub', 'b'), 'x'.repeat(5));
    linkSync(join(directory, 'a'), join(directory, 'sub', 'c'));
    expect(await directorySize(directory)).toBe(15);
    expect(await directorySize(join(directory, 'nosuch'))).toBe(0);
  });
});
