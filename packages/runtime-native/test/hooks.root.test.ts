/** Hooks of all six kinds: where they run, what they are told, and what comes of one that fails, hangs or is not there. */
import { chmodSync, existsSync, mkdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { COMPONENTS, componentPath } from '../../../test/lab/debian.ts';
import { createNativeRuntime } from '../src/native-runtime.ts';
import type { RuntimeError } from '../src/errors.ts';
import type { Container } from '../src/runtime.ts';
import { HOOK_KINDS } from '../src/spec/config.ts';
import type { HookKind, HookSpec } from '../src/spec/config.ts';
import type { Spec } from '../src/spec/index.ts';
import { shellSpec } from '../src/testing/index.ts';
import { children, describeContainers, leftovers, machineMounts, makeLab, processesOf } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

describeContainers('hooks', () => {
  let lab: Lab;
  let mounts: string[];
  let warnings: RuntimeError[];
  /** On the host, and in the container under another name. */
  let records: string;
  let recorder: string;
  beforeAll(() => {
    lab = makeLab();
    lab.runtime = createNativeRuntime({
      stateDirectory: lab.stateDirectory,
      cgroupRoot: lab.cgroupRoot,
      onWarning: (warning) => warnings.push(warning),
    });
    mounts = machineMounts();
    records = join(lab.directory, 'records');
    recorder = join(lab.directory, 'recorder');
    // a script: those of the host run with the host's shell, those of the container with its own
    const script = `#!/bin/sh
read -r state
{
  echo "$0 $*"
  echo "$state"
  readlink /proc/self/ns/mnt
  cat /proc/sys/kernel/hostname
  env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD=
  echo .
} >> "$RECORDS/$1"
echo "$1" >> "$RECORDS/order"
`;
    writeFileSync(recorder, script);
    writeFileSync(join(lab.rootfs, 'recorder'), script);
    for (const path of [recorder, join(lab.rootfs, 'recorder')]) chmodSync(path, 0o755);
  });
  beforeEach(() => {
    warnings = [];
    mkdirSync(records);
    mkdirSync(join(lab.rootfs, 'records'), { recursive: true });
  });
  afterEach(async () => {
    rmSync(records, { recursive: true });
    await expect.poll(() => [...children(), ...processesOf(lab)]).toEqual([]);
    expect(leftovers(lab)).toEqual([]);
    expect(machineMounts()).toEqual(mounts);
  });
  afterAll(() => lab.dispose());

  /** The hook that writes down what it sees. */
  function recording(kind: HookKind): HookSpec {
    const inside = kind === 'startContainer';
    return {
      path: inside ? '/recorder' : recorder,
      args: ['hook', kind, 'two words'],
      env: [`RECORDS=${inside ? '/records' : records}`, 'PATH=/bin:/usr/bin', 'EXTRA=a b'],
    };
  }

  function specWith(hooks: Partial<Record<HookKind, HookSpec[]>>, script = 'sleep 1000'): Spec {
    return shellSpec(lab.rootfs, script, (spec) => {
      spec.hostname = 'box';
      spec.annotations = { note: 'a "quoted" one' };
      spec.hooks = hooks;
      spec.mounts!.push({ destination: '/records', type: 'bind', source: records, options: ['bind'] });
    });
  }

  const all = (): Partial<Record<HookKind, HookSpec[]>> =>
    Object.fromEntries(HOOK_KINDS.map((kind) => [kind, [recording(kind)]]));

  function recorded(kind: HookKind): {
    state: Record<string, unknown>;
    mnt: string;
    host: string;
    lines: string[];
  } {
    const lines = readFileSync(join(records, kind), 'utf8').split('\n');
    return {
      state: JSON.parse(lines[1]!) as Record<string, unknown>,
      mnt: lines[2]!,
      host: lines[3]!,
      lines,
    };
  }

  const order = (): string[] => readFileSync(join(records, 'order'), 'utf8').trim().split('\n');

  const create = (spec: Spec, signal?: AbortSignal): Promise<Container> =>
    lab.runtime.create('c', { spec, bundle: lab.directory, ...(signal ? { signal } : {}) });

  it('run in the order of the life, each in its namespaces, with the state on stdin', async () => {
    const container = await create(specWith(all()));
    const { pid } = container;
    const own = readlinkSync('/proc/self/ns/mnt');
    const theirs = readlinkSync(`/proc/${pid}/ns/mnt`);
    const hostname = readFileSync('/proc/sys/kernel/hostname', 'utf8').trim();
    expect(order()).toEqual(['prestart', 'createRuntime', 'createContainer']);
    await container.start();
    expect(order().slice(3)).toEqual(['startContainer', 'poststart']);
    await container.delete({ force: true });
    expect(order()).toEqual([...HOOK_KINDS]);

    const base = {
      ociVersion: '1.2.0',
      id: 'c',
      bundle: lab.directory,
      annotations: { note: 'a "quoted" one' },
    };
    const seen = HOOK_KINDS.map((kind) => ({ kind, ...recorded(kind) }));
    expect(seen.map(({ kind, state, mnt, host }) => ({ kind, state, mnt, host }))).toEqual([
      { kind: 'prestart', state: { ...base, status: 'creating', pid }, mnt: own, host: hostname },
      { kind: 'createRuntime', state: { ...base, status: 'creating', pid }, mnt: own, host: hostname },
      // its name is given to the container after the pivot
      {
        kind: 'createContainer',
        state: { ...base, status: 'creating', pid: 1 },
        mnt: theirs,
        host: expect.any(String),
      },
      { kind: 'startContainer', state: { ...base, status: 'created', pid: 1 }, mnt: theirs, host: 'box' },
      { kind: 'poststart', state: { ...base, status: 'running', pid }, mnt: own, host: hostname },
      { kind: 'poststop', state: { ...base, status: 'stopped' }, mnt: own, host: hostname },
    ]);
    for (const { kind, lines } of seen) {
      // a script is called with its path in place of its name; nothing of this process's environment comes along
      const path = kind === 'startContainer' ? '/recorder' : recorder;
      expect(lines[0]).toBe(`${path} ${kind} two words`);
      expect(lines.slice(4, -2).sort()).toEqual([...recording(kind).env!].sort());
    }
    expect(warnings).toEqual([]);
  });

  it('of one kind run one after the other, and a container without them has none', async () => {
    const hook = recording('createRuntime');
    const named = (name: string): HookSpec => ({ ...hook, args: ['hook', name] });
    const container = await create(specWith({ createRuntime: [named('one'), named('two'), named('three')] }));
    expect(order()).toEqual(['one', 'two', 'three']);
    await container.delete({ force: true });
  });

  it('can change the root file system from the mount namespace of the container, where the spec has it', async () => {
    // what GPU vendors' hooks do: enter by the pid of the state, mount below root.path
    const busybox = componentPath(COMPONENTS.busybox)!;
    const script = `pid=$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/'); ${busybox} nsenter -m -t $pid ${busybox} mount -t tmpfs -o size=64k extra ${lab.rootfs}/tmp`;
    const spec = specWith(
      { createRuntime: [{ path: '/bin/sh', args: ['sh', '-c', script], env: ['PATH=/bin:/usr/bin'] }] },
      'grep " /tmp " /proc/mounts > /records/mounts',
    );
    const container = await create(spec);
    await container.start();
    await container.wait();
    await container.delete();
    expect(readFileSync(join(records, 'mounts'), 'utf8')).toMatch(/^extra \/tmp tmpfs .*size=64k/);
  });

  const failing: HookSpec = {
    path: '/bin/sh',
    args: ['sh', '-c', 'echo out of luck >&2; exit 7'],
    env: ['PATH=/bin'],
  };

  describe.each(['prestart', 'createRuntime', 'createContainer'] as const)('of kind %s', (kind) => {
    const undone = async (hook: HookSpec, message: RegExp): Promise<void> => {
      const spec = specWith({ ...all(), [kind]: [recording(kind), hook, recording(kind)] });
      await expect(create(spec)).rejects.toMatchObject({
        code: 'HOOK_FAILED',
        field: `hooks.${kind}[1]`,
        message: expect.stringMatching(message) as string,
      });
      // the ones before, the one that ran, and the ones of the end
      const before = HOOK_KINDS.slice(0, HOOK_KINDS.indexOf(kind) + 1);
      expect(order()).toEqual([...before, 'poststop']);
      expect(recorded('poststop').state).toMatchObject({ status: 'stopped', id: 'c' });
      expect(leftovers(lab)).toEqual([]);
    };

    it('undo the container when one fails, say why, and run those of the end', async () => {
      await undone(failing, /^hooks\.\w+\[1\]: \/bin\/sh: exit status 7: out of luck$/);
    });

    it('count as failed when a signal ends them', async () => {
      await undone({ ...failing, args: ['sh', '-c', 'kill -TERM $$'] }, /signal 15/);
    });

    it('count as failed when they are not there', async () => {
      await undone({ path: '/no/such/hook' }, /\/no\/such\/hook: exit status 127: No such file or directory/);
    });

    it('are killed with their session when their time is up', async () => {
      const began = performance.now();
      const hook = { ...failing, args: ['sh', '-c', 'sleep 100 & sleep 100'], timeout: 1 };
      await undone(hook, /took (too long|longer than 1 s)/);
      expect(performance.now() - began).toBeLessThan(10_000);
    });

    it('may say a lot: only the end of it is kept', async () => {
      const script = `i=0; while [ $i -lt 20000 ]; do echo "line $i of many, all of them long"; i=$((i+1)); done; echo the end; exit 1`;
      await undone({ ...failing, args: ['sh', '-c', script] }, /^.{200,2000}the end$/s);
    });

    it('give up with the caller who changes his mind', async () => {
      const abort = new AbortController();
      const file = join(records, 'began');
      const hook = {
        ...failing,
        args: ['sh', '-c', `echo > ${file}; sleep 1000`],
        env: ['PATH=/bin:/usr/bin'],
      };
      const creating = create(specWith({ [kind]: [hook] }), abort.signal);
      creating.catch(() => {});
      await vi.waitUntil(() => existsSync(file), { interval: 2, timeout: 5000 });
      abort.abort(new Error('changed my mind'));
      await expect(creating).rejects.toThrow('changed my mind');
    });
  });

  it('of kind startContainer stop the container when one fails', async () => {
    const container = await create(specWith({ ...all(), startContainer: [{ ...failing, path: '/bin/sh' }] }));
    await expect(container.start()).rejects.toMatchObject({
      code: 'HOOK_FAILED',
      field: 'hooks.startContainer[0]',
      message: expect.stringContaining('out of luck') as string,
    });
    await container.wait();
    expect((await container.state()).status).toBe('stopped');
    await container.delete();
    expect(order()).toEqual(['prestart', 'createRuntime', 'createContainer', 'poststop']);
  });

  it('of kind startContainer have the user and the capabilities of the process', async () => {
    const script = 'id -u > /records/who; grep CapEff /proc/self/status >> /records/who';
    const spec = specWith({
      startContainer: [{ path: '/bin/sh', args: ['sh', '-c', script], env: ['PATH=/bin'] }],
    });
    spec.process!.user = { uid: 1000, gid: 1000 };
    chmodSync(records, 0o777);
    const container = await create(spec);
    await container.start();
    expect(readFileSync(join(records, 'who'), 'utf8')).toBe('1000\nCapEff:\t0000000000000000\n');
    await container.delete({ force: true });
  });

  it('of kind poststart stop the container when one fails', async () => {
    const container = await create(specWith({ ...all(), poststart: [failing] }));
    await expect(container.start()).rejects.toMatchObject({
      code: 'HOOK_FAILED',
      field: 'hooks.poststart[0]',
    });
    expect((await container.state()).status).toBe('stopped');
    await container.delete();
    expect(order().at(-1)).toBe('poststop');
  });

  it('of kind poststop are all run, and a failure is a warning', async () => {
    const slow = { ...failing, args: ['sh', '-c', 'sleep 100'], timeout: 1 };
    const container = await create(specWith({ poststop: [failing, slow, recording('poststop')] }));
    await container.delete({ force: true });
    expect(order()).toEqual(['poststop']);
    expect(warnings).toMatchObject([
      { code: 'HOOK_FAILED', field: 'hooks.poststop[0]' },
      { code: 'HOOK_FAILED', field: 'hooks.poststop[1]' },
    ]);
  });

  it('of the end run also when a later caller deletes the container', async () => {
    await using _ = await create(specWith(all()));
    const later = createNativeRuntime({ stateDirectory: lab.stateDirectory, cgroupRoot: lab.cgroupRoot });
    await (await later.load('c')).delete({ force: true });
    expect(order().at(-1)).toBe('poststop');
  });

  it('get no descriptor of this process', async () => {
    const script = `ls /proc/self/fd > ${records}/descriptors`;
    const hook = { path: '/bin/sh', args: ['sh', '-c', script], env: ['PATH=/bin:/usr/bin'] };
    for (const kind of ['createRuntime', 'createContainer'] as const) {
      const container = await create(specWith({ [kind]: [hook] }));
      // the fourth is that of ls itself
      expect(readFileSync(join(records, 'descriptors'), 'utf8')).toBe('0\n1\n2\n3\n');
      await container.delete({ force: true });
    }
  });
});
