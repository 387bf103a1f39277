/** What container networks are set up with elsewhere, each as its callers run it: netavark, the CNI plugins, ip and nft. */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Puts a container with one published TCP port on a network. */
export interface NetworkPeer {
  name: string;
  attach(sandbox: string, id: string, hostPort: number): Promise<void>;
  detach(sandbox: string, id: string, hostPort: number): Promise<void>;
  /** Removes the network. */
  close(): Promise<void>;
}

const NETAVARK = ['/usr/lib/podman/netavark', '/usr/libexec/podman/netavark'];
const CNI = ['/usr/lib/cni', '/opt/cni/bin'];

/** netavark, the way podman runs it; undefined when it is not installed. */
export async function netavark(folder: string): Promise<NetworkPeer | undefined> {
  const program = NETAVARK.find((path) => existsSync(path));
  if (program === undefined) return undefined;
  const version = /"version": "([^"]+)"/.exec((await run(program, ['version'])).stdout)?.[1] ?? '';
  await mkdir(folder, { recursive: true });
  // podman has done the addresses by then; here a counter does
  const options = (id: string, hostPort: number) =>
    JSON.stringify({
      container_id: id.padEnd(64, '0'),
      container_name: id,
      port_mappings: [{ container_port: 80, host_ip: '', host_port: hostPort, protocol: 'tcp', range: 1 }],
      networks: {
        bench: { static_ips: [`10.88.${hostPort >> 8}.${hostPort & 255}`], interface_name: 'eth0' },
      },
      network_info: {
        bench: {
          name: 'bench',
          id: 'b'.repeat(64),
          driver: 'bridge',
          network_interface: 'netavark0',
          subnets: [{ subnet: '10.88.0.0/16', gateway: '10.88.0.1' }],
          ipv6_enabled: false,
          internal: false,
          dns_enabled: false,
          ipam_options: { driver: 'host-local' },
        },
      },
    });
  const call = (action: string, sandbox: string, id: string, hostPort: number) =>
    runWithInput(program, ['--config', folder, action, sandbox], options(id, hostPort));
  return {
    name: `netavark ${version}`,
    attach: (...args) => call('setup', ...args),
    detach: (...args) => call('teardown', ...args),
    close: async () => void spawnSync('ip', ['link', 'delete', 'netavark0']),
  };
}

/** The CNI plugins bridge (with host-local) and portmap, run one after the other as every CNI runtime does. */
export function cni(folder: string): NetworkPeer | undefined {
  const directory = CNI.find((path) => existsSync(join(path, 'portmap')));
  if (directory === undefined) return undefined;
  const version =
    /v(\d\S*)/.exec(spawnSync(join(directory, 'bridge'), { encoding: 'utf8' }).stderr)?.[1] ?? '';
  const call = async (command: 'ADD' | 'DEL', sandbox: string, id: string, hostPort: number) => {
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: id,
      CNI_NETNS: sandbox,
      CNI_IFNAME: 'eth0',
      CNI_PATH: directory,
      PATH: process.env['PATH'],
    };
    const common = { cniVersion: '1.0.0', name: 'bench' };
    const bridge = {
      ...common,
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipMasq: true,
      ipam: {
        type: 'host-local',
        dataDir: folder,
        ranges: [[{ subnet: '10.89.0.0/16' }]],
        routes: [{ dst: '0.0.0.0/0' }],
      },
    };
    const portmap = {
      ...common,
      type: 'portmap',
      runtimeConfig: { portMappings: [{ hostPort, containerPort: 80, protocol: 'tcp' }] },
    };
    const plugin = (config: { type: string }, more: object = {}) =>
      runWithInput(join(directory, config.type), [], JSON.stringify({ ...config, ...more }), env);
    if (command === 'DEL') {
      await plugin(portmap);
      await plugin(bridge);
    } else {
      const prevResult = JSON.parse(
        await output(join(directory, 'bridge'), JSON.stringify(bridge), env),
      ) as object;
      await plugin(portmap, { prevResult });
    }
  };
  return {
    name: `CNI bridge + portmap ${version}`,
    attach: (...args) => call('ADD', ...args),
    detach: (...args) => call('DEL', ...args),
    close: async () => void spawnSync('ip', ['link', 'delete', 'cni0']),
  };
}

/** Two sandboxes on a bridge, and a port of the first one translated, by ip and nft: what a person would type. */
export function byHand(
  sandboxes: readonly [string, string],
): AsyncDisposable & { addresses: [string, string] } {
  const sh = (script: string) => execFileSync('sh', ['-ec', script]);
  sh('ip link add hand0 type bridge; ip addr add 10.90.0.1/24 dev hand0; ip link set hand0 up');
  const addresses: [string, string] = ['10.90.0.2', '10.90.0.3'];
  for (const [index, sandbox] of sandboxes.entries()) {
    const inside = `nsenter --net=${sandbox}`;
    sh(
      `ip link add hand${index + 1} type veth peer name eth1; ip link set hand${index + 1} master hand0 up
       exec 9<${sandbox}; ip link set eth1 netns /proc/self/fd/9
       ${inside} ip addr add ${addresses[index]}/24 dev eth1; ${inside} ip link set eth1 up`,
    );
  }
  sh(`nft 'table ip hand {
    chain pre { type nat hook prerouting priority dstnat; fib daddr type local tcp dport 15201 dnat to ${addresses[0]}:5201; }
    chain post { type nat hook postrouting priority srcnat; oifname hand0 ct status dnat masquerade; }
  }'`);
  return {
    addresses,
    async [Symbol.asyncDispose]() {
      sh('nft delete table ip hand; ip link delete hand0');
      await Promise.resolve();
    },
  };
}

/** Gigabits a second that iperf3 gets from one namespace to an address, in a second. */
export async function throughput(from: string, address: string, port: number, seconds = 2): Promise<number> {
  const args = [`--net=${from}`, 'iperf3', '-J', '-c', address, '-p', `${port}`, '-t', `${seconds}`];
  const { stdout } = await run('nsenter', args, { maxBuffer: 1 << 24 });
  const result = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
  return result.end.sum_received.bits_per_second / 1e9;
}

async function runWithInput(
  program: string,
  args: string[],
  input: string,
  env?: NodeJS.ProcessEnv,
): Promise<void> {
  await output(program, input, env, args);
}

async function output(
  program: string,
  input: string,
  env: NodeJS.ProcessEnv = process.env,
  args: string[] = [],
): Promise<string> {
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  let [out, error] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (error += chunk.toString()));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${code}: ${error}${out}`);
  return out;
}
