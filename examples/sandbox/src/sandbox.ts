/** Untrusted code in a container of its own: no daemon, no network, no more than its share of anything. */
import { existsSync } from 'node:fs';
import { defaultSeccompProfile, type Runtime } from '@tare/runtime-native';
import { capabilitySets, defaultSpec, type MountSpec } from '@tare/runtime-native/spec';

export interface Job {
  code: string;
  /** `sh` of the root file system, or this very Node.js with the machine's libraries. */
  language: 'shell' | 'javascript';
  /** A directory with at least `/bin/sh`. */
  rootfs: string;
  limits?: { memoryBytes?: number; cpus?: number; timeMs?: number; processes?: number; outputBytes?: number };
}

const shared = ['/lib', '/lib64', '/usr/lib'].filter((path) => existsSync(path));
const readOnly = (source: string, destination = source): MountSpec => ({
  type: 'bind',
  source,
  destination,
  options: ['rbind', 'rro', 'nosuid', 'nodev'],
});

export async function runUntrusted(
  runtime: Runtime,
  id: string,
  { code, language, rootfs, limits = {} }: Job,
) {
  const {
    memoryBytes = 128 << 20,
    cpus = 0.5,
    timeMs = 5000,
    processes = 32,
    outputBytes = 1 << 20,
  } = limits;
  const spec = defaultSpec(language === 'shell' ? ['sh', '-c', code] : ['/node', '-e', code]);
  Object.assign(spec.process!, { user: { uid: 65534, gid: 65534 }, capabilities: capabilitySets([]) });
  spec.root = { path: rootfs, readonly: true };
  spec.mounts!.push({
    type: 'tmpfs',
    source: 'tmpfs',
    destination: '/tmp',
    options: ['size=16m', 'nosuid', 'nodev'],
  });
  if (language === 'javascript')
    spec.mounts!.push(readOnly(process.execPath, '/node'), ...shared.map((path) => readOnly(path)));
  spec.linux!.seccomp = defaultSeccompProfile({ capabilities: [] });
  const cpu = { period: 100_000, quota: Math.round(cpus * 100_000) };
  const memory = { limit: memoryBytes, swap: memoryBytes };
  spec.linux!.resources = { ...spec.linux!.resources, memory, cpu, pids: { limit: processes } };

  const began = performance.now();
  const container = await runtime.create(id, { spec });
  try {
    const { output } = await container.attach();
    await container.start();
    const startMs = performance.now() - began;
    const written = { stdout: '', stderr: '' };
    let why: 'time' | 'output' | undefined;
    const stop = (reason: 'time' | 'output') => ((why ??= reason), void container.killAll(9));
    const timer = setTimeout(stop, timeMs, 'time');
    for await (const { stream, data } of output) {
      if (written.stdout.length + written.stderr.length + data.length > outputBytes) stop('output');
      else written[stream] += Buffer.from(data).toString();
    }
    const { exitCode, oomKilled } = await container.wait();
    clearTimeout(timer);
    return {
      ...written,
      exitCode,
      exceeded: oomKilled ? 'memory' : why,
      startMs,
      tookMs: performance.now() - began,
    };
  } finally {
    await container.delete({ force: true });
  }
}
