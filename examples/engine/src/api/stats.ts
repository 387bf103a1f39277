/** The resource use of a container. */
import { z } from 'zod';
import { integer, text, time } from './values.ts';

export const pidsStats = z.strictObject({
  current: integer.optional(),
  limit: integer.optional(),
});

export const blkioStatEntry = z.strictObject({
  major: integer,
  minor: integer,
  op: text,
  value: integer,
});

export const blkioStats = z.strictObject({
  io_service_bytes_recursive: z.array(blkioStatEntry).nullable(),
  io_serviced_recursive: z.array(blkioStatEntry).nullable(),
  io_queue_recursive: z.array(blkioStatEntry).nullable(),
  io_service_time_recursive: z.array(blkioStatEntry).nullable(),
  io_wait_time_recursive: z.array(blkioStatEntry).nullable(),
  io_merged_recursive: z.array(blkioStatEntry).nullable(),
  io_time_recursive: z.array(blkioStatEntry).nullable(),
  sectors_recursive: z.array(blkioStatEntry).nullable(),
});

export const storageStats = z.strictObject({
  read_count_normalized: integer.optional(),
  read_size_bytes: integer.optional(),
  write_count_normalized: integer.optional(),
  write_size_bytes: integer.optional(),
});

export const cPUUsage = z.strictObject({
  total_usage: integer,
  percpu_usage: z.array(integer).optional(),
  usage_in_kernelmode: integer,
  usage_in_usermode: integer,
});

export const throttlingData = z.strictObject({
  periods: integer,
  throttled_periods: integer,
  throttled_time: integer,
});

export const cPUStats = z.strictObject({
  cpu_usage: cPUUsage,
  system_cpu_usage: integer.optional(),
  online_cpus: integer.optional(),
  throttling_data: throttlingData.optional(),
});

export const memoryStats = z.strictObject({
  usage: integer.optional(),
  max_usage: integer.optional(),
  stats: z.record(text, integer).optional(),
  failcnt: integer.optional(),
  limit: integer.optional(),
  commitbytes: integer.optional(),
  commitpeakbytes: integer.optional(),
  privateworkingset: integer.optional(),
});

export const interfaceStats = z.strictObject({
  rx_bytes: integer,
  rx_packets: integer,
  rx_errors: integer,
  rx_dropped: integer,
  tx_bytes: integer,
  tx_packets: integer,
  tx_errors: integer,
  tx_dropped: integer,
  endpoint_id: text.optional(),
  instance_id: text.optional(),
});

export const containerStats = z.strictObject({
  name: text.optional(),
  id: text.optional(),
  read: time,
  preread: time,
  pids_stats: pidsStats.optional(),
  blkio_stats: blkioStats.optional(),
  num_procs: integer,
  storage_stats: storageStats.optional(),
  cpu_stats: cPUStats.optional(),
  precpu_stats: cPUStats.optional(),
  memory_stats: memoryStats.optional(),
  networks: z.record(text, interfaceStats).optional(),
});
