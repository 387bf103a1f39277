/**
 * A process that uses a bridge driver and is killed at it. It takes its orders as JSON in its first argument, prints
 * what the driver returned, and either waits for its end or kills itself in the middle of its n-th netlink request.
 */

import {
  createBridgeDriver,
  nativeKernel,
  type BridgeNetworkConfig,
  type EndpointConfig,
} from '../../src/index.ts';

/** What the process does before it dies. */
export interface Orders {
  driverName: string;
  network: BridgeNetworkConfig;
  endpoints: EndpointConfig[];
  /** Default: what the driver does by default. */
  ipForward?: 'enable' | 'leave';
  /** Detach the endpoints and remove the network, too. */
  undo?: boolean;
  /** Dies right after the kernel has done its n-th request, before the driver hears of it. */
  dieAtRequest?: number;
}

const orders = JSON.parse(process.argv[2]!) as Orders;
const kernel = nativeKernel();
let requests = 0;
const driver = createBridgeDriver({
  name: orders.driverName,
  ...(orders.ipForward ? { ipForward: orders.ipForward } : {}),
  kernel: {
    ...kernel,
    openNetlink(options) {
      const transport = kernel.openNetlink(options);
      return {
        async request(bytes) {
          const answer = await transport.request(bytes);
          if (++requests === orders.dieAtRequest) process.kill(process.pid, 'SIGKILL');
          return answer;
        },
        close: () => transport.close(),
      };
    },
  },
});

const network = await driver.createNetwork(orders.network);
const endpoints = [];
for (const endpoint of orders.endpoints) endpoints.push(await driver.attach(network.id, endpoint));
if (orders.undo) {
  for (const { id } of endpoints) await driver.detach(network.id, id);
  await driver.removeNetwork(network.id);
}
process.stdout.write(`${JSON.stringify({ network, endpoints })}\n`);
if (orders.dieAtRequest === undefined) {
  // the timer keeps it alive until it is killed
  setInterval(() => undefined, 60_000);
} else {
  await driver[Symbol.asyncDispose]();
}
