/** `tare port`: shows where container ports appear on the host. */
import type { ContainerDetails } from '../attached-start.ts';
import { defineCommand } from '../command.ts';
import { CliError, UsageError } from '../errors.ts';
import { compareNatural } from '../format/natural-order.ts';
import { joinHostPort } from '../format/port-list.ts';

/** `port`. */
export const command = defineCommand({
  usage: 'CONTAINER [PRIVATE_PORT[/PROTO]]',
  summary: 'List port mappings or a specific mapping for the container',
  args: { min: 1, max: 2 },
  flags: {},
  async run({ cli, args: [name, wanted] }) {
    const details = await cli.client.json<ContainerDetails>('GET', `/containers/${name}/json`);
    const ports = details.NetworkSettings.Ports ?? {};
    const lines: string[] = [];
    if (wanted !== undefined) {
      const [number, protocol = 'tcp'] = wanted.split('/') as [string, string?];
      if (!/^\d+$/.test(number)) {
        throw new UsageError(
          `Error: invalid port (${number}): strconv.ParseUint: parsing ${JSON.stringify(number)}: invalid syntax`,
        );
      }
      const bindings = ports[`${number}/${protocol}`];
      if (!bindings) throw new CliError(`Error: No public port '${wanted}' published for ${name}`);
      for (const { HostIp, HostPort } of bindings) lines.push(joinHostPort(HostIp, HostPort));
    } else {
      for (const [port, bindings] of Object.entries(ports)) {
        for (const { HostIp, HostPort } of bindings ?? [])
          lines.push(`${port} -> ${joinHostPort(HostIp, HostPort)}`);
      }
    }
    lines.sort(compareNatural);
    if (lines.length > 0) cli.print(lines.join('\n'));
  },
});
