/** `main.ts <rootfs> <command…>`: runs one command in a container made of a directory, and ends as it does. */
import { createNativeRuntime, defaultSeccompProfile } from '@tare/runtime-native';
import { defaultSpec } from '@tare/runtime-native/spec';

const [source, ...command] = process.argv.slice(2);
if (!source || command.length === 0) {
  console.error('usage: run-a-process <rootfs directory> <command> [arguments…]');
  process.exit(2);
}

const runtime = createNativeRuntime({ stateDirectory: '/run/run-a-process', cgroupRoot: '/run-a-process' });
const spec = defaultSpec(command);
spec.linux!.seccomp = defaultSeccompProfile();

const id = `process-${process.pid}`;
const container = await runtime.create(id, {
  spec,
  rootfs: [{ type: 'bind', source, options: [] }],
  // the command has our terminal, pipes and files as they are
  stdio: { inherit: [0, 1, 2] },
});
try {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void container.kill(15));
  await container.start();
  const { exitCode } = await container.wait();
  process.exitCode = exitCode;
} finally {
  await container.delete({ force: true });
}
