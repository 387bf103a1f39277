/**
 * Somebody without root who runs containers: outside a process that opens an uplink, inside of a user and network
 * namespace one that uses the bridge driver. Prints what worked, as JSON.
 *
 * `rootless.ts outer <program | none> <address and port to reach> <port to publish>`
 */

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { createNetworkNamespace, removeNetworkNamespace } from '@tare/runtime-native/netlink';

import { createBridgeDriver, openUplink, type UplinkProgram } from '../../src/index.ts';
import { askTcp } from './agent.ts';

/** What the test hears. */
export interface RootlessReport {
  program: string | undefined;
  warning: string | undefined;
  /** What a container heard from outside. */
  out: string | undefined;
  /** What the outside heard from a published port. */
  in: string | undefined;
  uid: number;
}

const TIMEOUT_MS = 2000;
const [role = '', program = '', target = '', port = ''] = process.argv.slice(2);

if (role === 'outer') await outer();
if (role === 'inner') await inner();

async function outer(): Promise<void> {
  const script = import.meta.filename;
  const child = spawn(
    'unshare',
    [
      '--user',
      '--map-root-user',
      '--net',
      '--mount',
      process.execPath,
      ...process.execArgv,
      script,
      'inner',
      program,
      target,
      port,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  await lines.next();
  const programs = program === 'none' ? {} : { programs: [program as UplinkProgram] };
  // as on a machine that has neither
  if (program === 'none') process.env['PATH'] = '/none';
  const published = { protocol: 'tcp' as const, hostIp: '127.0.0.1', hostPort: Number(port) };
  const report: RootlessReport = {
    program: undefined,
    warning: undefined,
    out: undefined,
    in: undefined,
    uid: process.getuid!(),
  };
  {
    await using uplink = await openUplink({ pid: child.pid!, ...programs, ports: [published] });
    report.program = uplink.program;
    report.warning = uplink.warning;
    child.stdin.write('go\n');
    const { value } = (await lines.next()) as { value?: string };
    report.out = (JSON.parse(value ?? '{}') as { answer?: string }).answer;
    report.in = (await askTcp('127.0.0.1', Number(port), TIMEOUT_MS)).answer;
    child.stdin.end();
    await lines.next();
  }
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.exit(0);
}

async function inner(): Promise<void> {
  const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
  process.stdout.write('ready\n');
  await lines.next();
  const folder = await mkdtemp(join(tmpdir(), 'tare-rootless-'));
  const sandbox = join(folder, 'web');
  const driver = createBridgeDriver({ name: 'rootless' });
  try {
    await createNetworkNamespace(sandbox);
    await driver.createNetwork({ id: 'n', bridgeName: 'br0', subnets: [{ subnet: '10.77.0.0/24' }] });
    const ports = [
      { protocol: 'tcp' as const, containerPort: 80, hostIp: '0.0.0.0', hostPort: Number(port) },
    ];
    await driver.attach('n', { id: 'web', sandbox, ports });
    const agent = spawn(
      'nsenter',
      [`--net=${sandbox}`, process.execPath, join(import.meta.dirname, 'agent.ts')],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const answers = createInterface(agent.stdout)[Symbol.asyncIterator]();
    await answers.next();
    const ask = async (command: object): Promise<string> => {
      agent.stdin.write(`${JSON.stringify(command)}\n`);
      return ((await answers.next()) as { value: string }).value;
    };
    await ask({ do: 'serveTcp', port: 80, name: 'rootless' });
    const [, host, hostPort] = /^(.*):(\d+)$/.exec(target)!;
    const heard = await ask({ do: 'tcp', host, port: Number(hostPort), timeoutMs: TIMEOUT_MS });
    process.stdout.write(`${heard}\n`);
    await lines.next();
    agent.stdin.end();
  } finally {
    await driver.destroy();
    await removeNetworkNamespace(sandbox);
    await rm(folder, { recursive: true, force: true });
  }
  process.exit(0);
}
