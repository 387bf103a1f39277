/** A container engine in a hundred lines: `pull`, `run`, `ps` and `stop`. docs/tutorial.md builds it step by step. */
import { join } from 'node:path';
import { platformOfProcess, selectManifest } from '@tare/image-spec';
import { copyGraph, readImage } from '@tare/image-spec/content';
import { openLayerStore } from '@tare/layer-store';
import { createBridgeDriver } from '@tare/netdriver';
import { RegistryClient } from '@tare/registry-client';
import {
  createNativeRuntime,
  createNetworkNamespace,
  defaultSeccompProfile,
  removeNetworkNamespace,
} from '@tare/runtime-native';
import { DEFAULT_CAPABILITIES, defaultSpec } from '@tare/runtime-native/spec';
import { layerFs } from '@tare/runtime-native/syscalls';

// 1. the parts: where layers are, what runs processes, what connects them
const root = process.env['MINI_ROOT'] ?? '/var/lib/mini-engine';
await using parts = new AsyncDisposableStack();
const runtime = createNativeRuntime({ stateDirectory: join(root, 'run') });
const openStore = async () => parts.use(await openLayerStore({ root: join(root, 'layers'), fs: layerFs }));
const network = parts.use(createBridgeDriver({ name: `mini${process.pid}` }));
const client = parts.use(new RegistryClient());

// 2. pull: copy an image's blobs from the registry, then unpack its layers
async function pull(name: string) {
  const store = await openStore();
  const repository = client.repository(name);
  const platform = platformOfProcess(process);
  const image = await repository.resolve();
  await copyGraph(repository, store.content, image, { select: (index) => [selectManifest(index, platform)] });
  const { config, layers } = await readImage(store.content, image, platform);
  return { store, config, chainId: await store.unpack(layers) };
}

// 3. a network for the container, with a way out and, when asked for, a port in
async function connect(id: string, publish: string | undefined) {
  const sandbox = join(root, `${id}.net`);
  await network.createNetwork({ id: 'mini', bridgeName: `mini${process.pid}` });
  await createNetworkNamespace(sandbox);
  const [hostPort, containerPort] = (publish ?? '').split(':').map(Number);
  const ports = publish
    ? [{ protocol: 'tcp' as const, hostPort: hostPort!, containerPort: containerPort! }]
    : [];
  const { ipv4Address } = await network.attach('mini', { id, sandbox, ports });
  console.error(`${id} has ${ipv4Address}`);
  return sandbox;
}

// 4. run: a writable layer on the image's, a spec, a process; and everything away again at its end
async function run(name: string, command: string[], publish: string | undefined): Promise<number> {
  const { store, config, chainId } = await pull(name);
  const { Entrypoint = [], Cmd = [], Env = [], WorkingDir } = config.config ?? {};
  const id = `mini-${process.pid}`;
  await using undo = new AsyncDisposableStack();
  const rootfs = await store.snapshots.prepare(id, chainId);
  undo.defer(() => store.snapshots.remove(id));
  const sandbox = await connect(id, publish);
  undo.defer(() => removeNetworkNamespace(sandbox));
  undo.defer(() => network.destroy());
  const spec = defaultSpec([...(Entrypoint ?? []), ...(command.length > 0 ? command : (Cmd ?? []))]);
  spec.hostname = id;
  spec.process!.env!.push(...(Env ?? []));
  spec.process!.cwd = WorkingDir || '/';
  spec.linux!.namespaces!.find(({ type }) => type === 'network')!.path = sandbox;
  spec.linux!.seccomp = defaultSeccompProfile({ capabilities: DEFAULT_CAPABILITIES });
  const container = await runtime.create(id, { spec, rootfs });
  undo.defer(() => container.delete({ force: true }));
  const { output } = await container.attach();
  await container.start();
  for await (const { stream, data } of output) process[stream].write(data);
  return (await container.wait()).exitCode;
}

// 5. the command line
const [verb, ...args] = process.argv.slice(2);
const publish = args[0] === '-p' ? args.splice(0, 2)[1] : undefined;
const [name, ...command] = args;
if (verb === 'pull' && name) console.log((await pull(name)).chainId);
else if (verb === 'run' && name) process.exitCode = await run(name, command, publish);
else if (verb === 'ps') {
  for (const { id, status, pid } of await runtime.list()) console.log(id, status, pid);
} else if (verb === 'stop' && name) {
  const container = await runtime.load(name);
  await container.kill(15);
  // the first process of a container is not ended by a signal that it does not handle; by this one it is
  const late = AbortSignal.timeout(2000);
  await container.wait({ signal: late }).catch(() => (late.aborted ? container.kill(9) : undefined));
} else {
  console.error('mini-engine: pull IMAGE | run [-p HOST:CONTAINER] IMAGE [COMMAND...] | ps | stop ID');
  process.exitCode = 1;
}
