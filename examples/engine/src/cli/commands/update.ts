/** `tare update`: changes limits and restart policies of containers. */
import { defineCommand } from '../command.ts';
import { forEach } from '../each.ts';
import { UsageError } from '../errors.ts';
import { pick, string } from '../flags.ts';
import { containerFlags } from '../run-flags.ts';
import { parseRestart } from '../values/limits.ts';

/** `update`. */
export const command = defineCommand({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  summary: 'Update configuration of one or more containers',
  args: { min: 1, max: Infinity },
  flags: {
    ...pick(containerFlags, [
      'blkioWeight',
      'cpuPeriod',
      'cpuQuota',
      'cpuRtPeriod',
      'cpuRtRuntime',
      'cpuShares',
      'cpus',
      'cpusetCpus',
      'cpusetMems',
      'memory',
      'memoryReservation',
      'memorySwap',
      'pidsLimit',
    ]),
    restart: string('Restart policy to apply when a container exits'),
  },
  async run({ cli, flags, given, args }) {
    if (given.size === 0) throw new UsageError('you must provide one or more flags when using this command');
    const json = {
      BlkioWeight: flags.blkioWeight,
      CpusetCpus: flags.cpusetCpus,
      CpusetMems: flags.cpusetMems,
      CpuShares: flags.cpuShares,
      Memory: flags.memory,
      MemoryReservation: flags.memoryReservation,
      MemorySwap: flags.memorySwap,
      CpuPeriod: flags.cpuPeriod,
      CpuQuota: flags.cpuQuota,
      CpuRealtimePeriod: flags.cpuRtPeriod,
      CpuRealtimeRuntime: flags.cpuRtRuntime,
      NanoCpus: flags.cpus,
      // 0 here means "no limit", and absence "as it is"
      ...(given.has('pidsLimit') && { PidsLimit: flags.pidsLimit }),
      RestartPolicy: parseRestart(flags.restart),
    };
    const warnings: string[] = [];
    try {
      await forEach(cli, args, async (name) => {
        const reply = await cli.client.json<{ Warnings: string[] | null }>(
          'POST',
          `/containers/${name}/update`,
          {
            json,
          },
        );
        warnings.push(...(reply.Warnings ?? []));
        return name;
      });
    } finally {
      for (const warning of warnings) cli.warn(warning);
    }
  },
});
