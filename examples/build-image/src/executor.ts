/** RUN without a daemon: a container of the runtime on a writable layer, both gone afterwards. */
import { randomBytes } from 'node:crypto';
import {
  mountPointsOf,
  readFromLayers,
  resolveUser,
  type Command,
  type Executor,
  type SolverParts,
} from '@tare/engine/builder';
import type { LayerStore } from '@tare/layer-store';
import { defaultSeccompProfile, type Runtime } from '@tare/runtime-native';
import { DEFAULT_CAPABILITIES, defaultSpec, type Spec } from '@tare/runtime-native/spec';

/** What commands run with. */
export interface ExecutorParts {
  runtime: Runtime;
  layers: LayerStore;
  syscalls: SolverParts['syscalls'];
  /** In a user namespace commands have no groups but one: the kernel lets nobody set others who could thereby lose some. */
  userNamespace: boolean;
}

export function runtimeExecutor({ runtime, layers, syscalls, userNamespace }: ExecutorParts): Executor {
  return {
    async run(command, { output, signal }) {
      await using held = new AsyncDisposableStack();
      const key = randomBytes(32).toString('hex');
      const rootfs = await layers.snapshots.prepare(key, command.chain.at(-1), { signal });
      held.defer(() => layers.snapshots.remove(key));
      const named = resolveUser(command.user, [], {
        passwd: readFromLayers(rootfs, '/etc/passwd', syscalls),
        group: readFromLayers(rootfs, '/etc/group', syscalls),
      });
      const user = userNamespace ? { ...named, additionalGids: [] } : named;
      const container = await runtime.create(key, { spec: specOf(command, user), rootfs, signal });
      held.defer(() => container.delete({ force: true }));
      const attached = held.use(await container.attach({ signal }));
      await container.start({ signal });
      for await (const { data } of attached.output) output.write(data);
      const { exitCode } = await container.wait({ signal });
      if (exitCode !== 0) return { exitCode, layer: undefined };
      const changes = await Array.fromAsync(layers.snapshots.changes(key, { signal }));
      const without = mountPointsOf(changes, [...command.mounts.map(({ target }) => target), ...LENT]);
      const { maxMtimeNs } = command;
      const options = { without, maxMtimeNs, compression: 'none', signal } as const;
      const { descriptor, diffId } = await layers.commitLayer(key, options);
      return { exitCode, layer: { descriptor, diffId } };
    },
  };
}

/** Files of the host that commands need for its network. */
const LENT = ['/etc/resolv.conf', '/etc/hosts'];

const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Without a daemon there is no network of one's own: commands have the host's, or none. */
function specOf(command: Command, user: ReturnType<typeof resolveUser>): Spec {
  const { argv, env, secretEnv, workingDirectory, network, insecure, hostname, mounts } = command;
  const spec = defaultSpec([...argv]);
  spec.hostname = hostname ?? 'build';
  spec.root = { path: 'rootfs', readonly: false };
  Object.assign(spec.process!, {
    env: [PATH, `HOME=${user.home}`, ...env, ...secretEnv],
    cwd: workingDirectory || '/',
    user: { uid: user.uid, gid: user.gid, additionalGids: [...user.additionalGids] },
  });
  const linux = spec.linux!;
  if (!insecure) linux.seccomp = defaultSeccompProfile({ capabilities: DEFAULT_CAPABILITIES });
  if (network !== 'none') {
    linux.namespaces = linux.namespaces?.filter(({ type }) => type !== 'network');
    for (const path of LENT) {
      spec.mounts?.push({ destination: path, type: 'bind', source: path, options: ['bind', 'ro'] });
    }
  }
  for (const mount of mounts) {
    if (mount.type === 'bind') {
      const options = ['rbind', mount.readOnly ? 'ro' : 'rw'];
      spec.mounts?.push({ destination: mount.target, type: 'bind', source: mount.source, options });
    } else {
      const size = mount.sizeBytes === undefined ? [] : [`size=${mount.sizeBytes}`];
      spec.mounts?.push({
        destination: mount.target,
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'nodev', ...size],
      });
    }
  }
  return spec;
}
