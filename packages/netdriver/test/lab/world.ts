/** A small world around one container: its network, its host's neighbours, and what it serves. */

import { createBridgeDriver, type BridgeNetworkConfig, type Endpoint } from '../../src/index.ts';
import { type Agent, Lab, uniqueName, uniqueSubnet, uniqueSubnet6 } from './namespaces.ts';

/** The port that is published. */
export const SERVED = 80;
/** One that is not. */
export const UNPUBLISHED = 81;
const PORTS = [{ protocol: 'tcp' as const, containerPort: SERVED }];

/** A container on a network of its own that serves a published and an unpublished port, and two neighbours who route to it. */
export async function world(lab: Lab, settings: (trusted: string) => Partial<BridgeNetworkConfig>) {
  const name = uniqueName();
  const driver = createBridgeDriver({ name });
  lab.defer(() => driver.destroy());
  const lan = await lab.lan({ routed: true });
  const other = await lab.lan({ routed: true });
  const network = await driver.createNetwork({
    id: 'n',
    bridgeName: uniqueName(),
    ipv6: true,
    subnets: [{ subnet: uniqueSubnet() }, { subnet: uniqueSubnet6() }],
    ...settings(lan.name),
  });
  const attach = async (id: string, ports: typeof PORTS): Promise<{ endpoint: Endpoint; agent: Agent }> => {
    const sandbox = await lab.sandbox();
    const endpoint = await driver.attach('n', { id, sandbox, ports });
    const agent = await lab.agent(sandbox);
    await agent.serve(id, SERVED);
    return { endpoint, agent };
  };
  const web = await attach('web', PORTS);
  await web.agent.serve('hidden', UNPUBLISHED);
  const neighbour = await lab.agent(lan.path);
  await neighbour.serve('lan', SERVED);
  return {
    name,
    driver,
    network,
    lan,
    other,
    neighbour,
    stranger: await lab.agent(other.path),
    ...web,
    attach,
  };
}
