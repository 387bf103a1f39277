/**
 * kill -9 at any moment of any change: what was answered is still so afterwards, nothing is there by half, and nothing
 * is left behind. 20 rounds, 300 with --full; `TARE_TEST_SEED` repeats a run.
 */
import { readdir } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();
const ROUNDS = process.env['TARE_TEST_FULL'] ? 300 : 20;
const SEED = Number(process.env['TARE_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

/** A small generator of numbers from 0 to 1, so that a failed run can be had again (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One change: what comes before it, the request, and what must hold after a crash, answered or not. */
interface Change {
  name: string;
  prepare?(name: string): Promise<void>;
  request(name: string): Promise<{ status: number; body: Buffer }>;
  /** @param answered - the daemon said that it is done */
  check(name: string, answered: boolean): Promise<void>;
}

interface Inspected {
  Id: string;
  State: { Status: string; Running: boolean; Pid: number };
  NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
}

describe.skipIf(missing !== undefined)(
  `any moment of a change${missing ? ` (skipped: ${missing})` : ''}`,
  () => {
    let lab: Lab;
    let archive: Buffer;
    beforeAll(async () => {
      lab = await startLab();
      await lab.ok(['network', 'create', 'net']);
      await lab.ok([
        'run',
        '-d',
        '--name',
        'steady',
        '--net',
        'net',
        '-v',
        'kept:/v',
        lab.busybox,
        'sleep',
        '9999',
      ]);
      await lab.ok(['tag', lab.busybox, 'loaded:1']);
      archive = (await lab.api('GET', '/images/loaded:1/get')).body;
      await lab.ok(['rmi', 'loaded:1']);
    });
    afterAll(() => lab?.[Symbol.asyncDispose]());

    const post = (path: string, body?: object) =>
      lab.api('POST', path, body === undefined ? undefined : JSON.stringify(body));
    const inspect = async (name: string): Promise<Inspected | undefined> => {
      const { status, json } = await lab.api('GET', `/containers/${name}/json`);
      return status === 404 ? undefined : (json() as Inspected);
    };
    const create = (name: string) =>
      post(`/containers/create?name=${name}`, {
        Image: lab.busybox,
        Cmd: ['sleep', '999'],
        Volumes: { '/anonymous': {} },
      });
    const must = async (reply: Promise<{ status: number; body: Buffer }>): Promise<void> => {
      const { status, body } = await reply;
      expect(status, body.toString()).toBeLessThan(300);
    };
    /** What is visible is whole: it can be started, runs, and ends. */
    const wholeContainer = async (name: string): Promise<void> => {
      const found = await inspect(name);
      if (!found) return;
      if (!found.State.Running) await must(post(`/containers/${name}/start`));
      expect(await lab.ok(['exec', name, 'echo', 'whole'])).toBe('whole');
    };

    const changes: Change[] = [
      {
        name: 'create',
        request: create,
        async check(name, answered) {
          expect(!answered || (await inspect(name)) !== undefined).toBe(true);
          await wholeContainer(name);
        },
      },
      {
        name: 'start',
        prepare: (name) => must(create(name)),
        request: (name) => post(`/containers/${name}/start`),
        async check(name, answered) {
          const found = await inspect(name);
          expect(found).toBeDefined();
          if (answered) expect(found!.State.Status).toBe('running');
          await wholeContainer(name);
        },
      },
      {
        name: 'stop',
        async prepare(name) {
          await must(create(name));
          await must(post(`/containers/${name}/start`));
        },
        request: (name) => post(`/containers/${name}/stop?t=0`),
        async check(name, answered) {
          const found = await inspect(name);
          if (answered) expect(found!.State.Status).toBe('exited');
          await wholeContainer(name);
        },
      },
      {
        name: 'remove',
        async prepare(name) {
          await must(create(name));
          await must(post(`/containers/${name}/start`));
        },
        request: (name) => lab.api('DELETE', `/containers/${name}?force=1&v=1`),
        async check(name, answered) {
          if (answered) expect(await inspect(name)).toBeUndefined();
          await wholeContainer(name);
        },
      },
      {
        name: 'network connect',
        async prepare(name) {
          await must(create(name));
          await must(post(`/containers/${name}/start`));
        },
        request: (name) => post('/networks/net/connect', { Container: name }),
        async check(name, answered) {
          const address = (await inspect(name))!.NetworkSettings.Networks['net']?.IPAddress;
          if (answered) expect(address).toMatch(/\d/);
          if (address)
            expect(await lab.ok(['exec', name, 'ip', '-4', '-o', 'addr'])).toContain(`${address}/`);
          await wholeContainer(name);
        },
      },
      {
        name: 'commit',
        async prepare(name) {
          await must(
            post(`/containers/create?name=${name}`, {
              Image: lab.busybox,
              Cmd: ['sh', '-c', 'echo mark > /mark'],
            }),
          );
          await must(post(`/containers/${name}/start`));
          await post(`/containers/${name}/wait`);
        },
        request: (name) => post(`/commit?container=${name}&repo=committed&tag=${name}`, {}),
        async check(name, answered) {
          const { status } = await lab.api('GET', `/images/committed:${name}/json`);
          if (answered) expect(status).toBe(200);
          if (status === 200)
            expect(await lab.ok(['run', '--rm', `committed:${name}`, 'cat', '/mark'])).toBe('mark');
        },
      },
      {
        name: 'load',
        request: () => lab.api('POST', '/images/load', archive),
        async check(_name, answered) {
          const { status } = await lab.api('GET', '/images/loaded:1/json');
          if (answered) expect(status).toBe(200);
          if (status !== 200) return;
          expect(await lab.ok(['run', '--rm', 'loaded:1', 'echo', 'whole'])).toBe('whole');
          await lab.ok(['rmi', 'loaded:1']);
        },
      },
      {
        name: 'pull',
        request: () => post(`/images/create?fromImage=${lab.registry}stateful&tag=latest`),
        async check(_name, answered) {
          const reference = `${lab.registry}stateful:latest`;
          const { status } = await lab.api('GET', `/images/${reference}/json`);
          if (answered) expect(status).toBe(200);
          // what a broken pull got is used by the next
          await lab.ok(['pull', '-q', reference]);
          expect(await lab.ok(['run', '--rm', reference, 'cat', '/data/seed'])).toBe('seed');
          await lab.ok(['rmi', reference]);
        },
      },
    ];

    test(`is a good one to be killed at (seed ${SEED})`, { timeout: ROUNDS * 15_000 }, async () => {
      const random = numbers(SEED);
      /** How long each change takes, learnt from the first of its kind, which is let be. */
      const durations = new Map<string, number>();
      const steadyPid = (await inspect('steady'))!.State.Pid;
      for (let round = 0; round < ROUNDS; round += 1) {
        const change = changes[round < changes.length ? round : Math.floor(random() * changes.length)]!;
        const name = `c${round}`;
        const what = `round ${round}: ${change.name}`;
        await change.prepare?.(name);
        if (!durations.has(change.name)) {
          const trial = `${name}-trial`;
          await change.prepare?.(trial);
          const began = performance.now();
          await change.request(trial);
          durations.set(change.name, performance.now() - began);
          await change.check(trial, true);
          await lab.api('DELETE', `/containers/${trial}?force=1&v=1`);
        }
        let answered = false;
        const going = change.request(name).then(
          ({ status }) => (answered = status < 300),
          // the connection broke with the daemon
          () => false,
        );
        await new Promise((resolve) => setTimeout(resolve, random() * 1.2 * durations.get(change.name)!));
        await lab.restartDaemon('SIGKILL');
        await going;
        try {
          expect((await inspect('steady'))!.State.Pid).toBe(steadyPid);
          await change.check(name, answered);
          await nothingLeftBehind(lab);
          await lab.api('DELETE', `/containers/${name}?force=1&v=1`);
        } catch (error) {
          throw new Error(`${what}, answered: ${answered}, seed ${SEED}: ${(error as Error).message}`, {
            cause: error,
          });
        }
      }
      expect(await lab.ok(['ps', '-aq'])).toMatch(/^[0-9a-f]{12}$/);
      expect(await lab.ok(['volume', 'ls', '-q'])).toBe('kept');
      expect(lab.daemon.output()).not.toMatch(/^tare daemon: /m);
    });
  },
);

/** Files, mounts and interfaces of containers are those of the containers there are. */
async function nothingLeftBehind(lab: Lab): Promise<void> {
  const ids = (filter: string) => lab.ok(['ps', '-q', '--no-trunc', ...(filter === '' ? [] : [filter])]);
  const running = (await ids(''))
    .split('\n')
    .filter((id) => id !== '')
    .sort();
  const all = (await ids('-a'))
    .split('\n')
    .filter((id) => id !== '')
    .sort();
  const folder = join(lab.dataRoot, '..');
  expect((await readdir(join(folder, 'run', 'netns'))).sort(), 'sandboxes').toEqual(running);
  expect((await readdir(join(lab.dataRoot, 'containers'))).sort(), 'directories').toEqual(all);
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`${folder}/`))
    .map((line) => line.split(' ')[4]!);
  expect(
    mounts.filter((path) => !running.some((id) => path.includes(id))),
    'mounts',
  ).toEqual([]);
  const links = readFileSync('/proc/net/dev', 'utf8');
  const networks = (await lab.ok(['ps', '--format', '{{.Networks}}']))
    .split('\n')
    .flatMap((line) => line.split(','));
  const veths = [...links.matchAll(/^\s*(veth|tv|v)[\w.-]+:/gm)];
  expect(veths.length, `interfaces: ${links}`).toBe(networks.filter((network) => network !== '').length);
}
