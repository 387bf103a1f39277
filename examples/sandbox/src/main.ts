/** `main.ts --rootfs <directory> [--javascript] <code>`: what the code wrote, how it ended, and how soon it was running. */
import { parseArgs } from 'node:util';
import { createNativeRuntime } from '@tare/runtime-native';

import { runUntrusted } from './sandbox.ts';

const { values, positionals } = parseArgs({
  options: { rootfs: { type: 'string' }, javascript: { type: 'boolean' } },
  allowPositionals: true,
});
const [code] = positionals;
if (values.rootfs === undefined || code === undefined) {
  console.error("usage: sandbox --rootfs <directory> [--javascript] '<code>'");
  process.exit(2);
}
const runtime = createNativeRuntime({ stateDirectory: '/run/sandbox', cgroupRoot: '/sandbox' });
const language = values.javascript ? 'javascript' : 'shell';
const job = { code, language, rootfs: values.rootfs } as const;
console.log(await runUntrusted(runtime, `sandbox-${process.pid}`, job));
