/** `docker top`: the processes of a container as ps(1) on the host would show them, read from /proc. */
import { readFileSync, readlinkSync } from 'node:fs';

import { invalid } from '../errors.ts';

/** One process, as /proc tells. */
interface ProcessFacts {
  pid: number;
  ppid: number;
  uid: number;
  user: string;
  comm: string;
  args: string;
  state: string;
  tty: string;
  nice: number;
  threads: number;
  /** CPU seconds used. */
  cpuSeconds: number;
  /** Share of one CPU over the process's life, in percent. */
  cpuPercent: number;
  memoryPercent: number;
  startedAt: Date;
  virtualKb: number;
  residentKb: number;
}

interface Column {
  title: string;
  text(process: ProcessFacts): string;
}

const COLUMNS: Record<string, Column> = {
  uid: { title: 'UID', text: ({ user }) => user },
  uidn: { title: 'UID', text: ({ uid }) => String(uid) },
  user: { title: 'USER', text: ({ user }) => user },
  pid: { title: 'PID', text: ({ pid }) => String(pid) },
  ppid: { title: 'PPID', text: ({ ppid }) => String(ppid) },
  c: { title: 'C', text: ({ cpuPercent }) => String(Math.floor(cpuPercent)) },
  stime: { title: 'STIME', text: ({ startedAt }) => shortTime(startedAt) },
  start: { title: 'START', text: ({ startedAt }) => shortTime(startedAt) },
  tty: { title: 'TTY', text: ({ tty }) => tty },
  time: { title: 'TIME', text: ({ cpuSeconds }) => clock(cpuSeconds) },
  bsdtime: {
    title: 'TIME',
    text: ({ cpuSeconds }) => `${Math.floor(cpuSeconds / 60)}:${two(Math.floor(cpuSeconds) % 60)}`,
  },
  cmd: { title: 'CMD', text: ({ args }) => args },
  command: { title: 'COMMAND', text: ({ args }) => args },
  args: { title: 'COMMAND', text: ({ args }) => args },
  comm: { title: 'COMMAND', text: ({ comm }) => comm },
  pcpu: { title: '%CPU', text: ({ cpuPercent }) => cpuPercent.toFixed(1) },
  pmem: { title: '%MEM', text: ({ memoryPercent }) => memoryPercent.toFixed(1) },
  vsz: { title: 'VSZ', text: ({ virtualKb }) => String(virtualKb) },
  rss: { title: 'RSS', text: ({ residentKb }) => String(residentKb) },
  stat: { title: 'STAT', text: ({ state }) => state },
  ni: { title: 'NI', text: ({ nice }) => String(nice) },
  nlwp: { title: 'NLWP', text: ({ threads }) => String(threads) },
};
const ALIASES: Record<string, string> = {
  '%cpu': 'pcpu',
  '%mem': 'pmem',
  euser: 'user',
  uname: 'user',
  tt: 'tty',
  s: 'stat',
  state: 'stat',
  nice: 'ni',
  ucmd: 'comm',
  cputime: 'time',
  vsize: 'vsz',
  rssize: 'rss',
};

const FULL = ['uid', 'pid', 'ppid', 'c', 'stime', 'tty', 'time', 'cmd'];
const PLAIN = ['pid', 'tty', 'time', 'comm'];
const BSD_USER = ['user', 'pid', 'pcpu', 'pmem', 'vsz', 'rss', 'tty', 'stat', 'start', 'bsdtime', 'command'];
const BSD_PLAIN = ['pid', 'tty', 'stat', 'bsdtime', 'command'];

/**
 * The columns that ps would print for its arguments. Those that select processes are ignored: the container does.
 *
 * @throws {EngineError} `INVALID` for arguments that are not understood, or that leave the PID out
 */
export function topColumns(psArgs: string): Column[] {
  const words = psArgs.split(/\s+/).filter((word) => word !== '');
  let names: string[] | undefined;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index]!;
    const list = /^(?:-[A-Za-z]*o|o|--format=?)(.*)$/.exec(word);
    if (list) {
      const text = list[1] || words[(index += 1)] || '';
      names = [...(names ?? []), ...text.split(',').map((name) => name.toLowerCase())];
    } else if (/^-[a-zA-Z]+$/.test(word)) {
      if (word.includes('f') || word.includes('F')) names = FULL;
    } else if (/^[a-z]+$/.test(word)) {
      names = word.includes('u') ? BSD_USER : BSD_PLAIN;
    } else throw invalid(`ps: unsupported option ${word}`);
  }
  names ??= words.length === 0 ? FULL : PLAIN;
  const columns = names.map((name) => {
    const column = COLUMNS[ALIASES[name] ?? name];
    if (!column) throw invalid(`ps: unknown user-defined format specifier "${name}"`);
    return column;
  });
  if (!columns.some(({ title }) => title === 'PID')) throw invalid("Couldn't find PID field in ps output");
  return columns;
}

/** The table of the processes `pids`; those that end meanwhile are left out. */
export function topTable(
  pids: readonly number[],
  psArgs: string,
): { Titles: string[]; Processes: string[][] } {
  const columns = topColumns(psArgs);
  const host = hostFacts();
  const processes = pids
    .map((pid) => readProcess(pid, host))
    .filter((process) => process !== undefined)
    .sort((a, b) => a.pid - b.pid);
  return {
    Titles: columns.map(({ title }) => title),
    Processes: processes.map((process) => columns.map(({ text }) => text(process))),
  };
}

interface HostFacts {
  bootMs: number;
  memoryKb: number;
  users: ReadonlyMap<number, string>;
}

/** USER_HZ: the unit of times in /proc, 100 on every architecture that Node runs on. */
const TICKS_PER_SECOND = 100;
const PAGE_KB = 4;

function hostFacts(): HostFacts {
  const users = new Map<number, string>();
  for (const line of readIfReadable('/etc/passwd').split('\n')) {
    const [name, , uid] = line.split(':');
    if (name && uid && !users.has(Number(uid))) users.set(Number(uid), name);
  }
  return {
    bootMs: Number(/^btime (\d+)$/m.exec(readIfReadable('/proc/stat'))?.[1] ?? 0) * 1000,
    memoryKb: Number(/^MemTotal:\s+(\d+)/m.exec(readIfReadable('/proc/meminfo'))?.[1] ?? 1),
    users,
  };
}

function readIfReadable(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // a process that has just ended, or a host without passwd
    return '';
  }
}

function readProcess(pid: number, host: HostFacts): ProcessFacts | undefined {
  const stat = readIfReadable(`/proc/${pid}/stat`);
  const status = readIfReadable(`/proc/${pid}/status`);
  // the name is in parentheses and may hold any character, parentheses too
  const open = stat.indexOf('(');
  const close = stat.lastIndexOf(')');
  if (open < 0 || close < 0 || status === '') return undefined;
  const comm = stat.slice(open + 1, close);
  const fields = stat
    .slice(close + 2)
    .trim()
    .split(' ');
  const field = (number: number): number => Number(fields[number - 3] ?? 0);
  const uid = Number(/^Uid:\s+\d+\s+(\d+)/m.exec(status)?.[1] ?? 0);
  const startedAt = new Date(host.bootMs + (field(22) / TICKS_PER_SECOND) * 1000);
  const cpuSeconds = (field(14) + field(15)) / TICKS_PER_SECOND;
  const ageSeconds = Math.max(1, (Date.now() - startedAt.getTime()) / 1000);
  const residentKb = field(24) * PAGE_KB;
  const args = readIfReadable(`/proc/${pid}/cmdline`).replace(/\0+$/, '').replaceAll('\0', ' ');
  return {
    pid,
    ppid: field(4),
    uid,
    user: host.users.get(uid) ?? String(uid),
    comm,
    args: args === '' ? `[${comm}]` : args,
    state: fields[0] ?? '?',
    tty: ttyName(pid, field(7)),
    nice: field(19),
    threads: field(20),
    cpuSeconds,
    cpuPercent: (cpuSeconds / ageSeconds) * 100,
    memoryPercent: (residentKb / host.memoryKb) * 100,
    startedAt,
    virtualKb: Math.floor(field(23) / 1024),
    residentKb,
  };
}

function ttyName(pid: number, device: number): string {
  if (device === 0) return '?';
  const major = (device >> 8) & 0xff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  if (major >= 136 && major <= 143) return `pts/${minor}`;
  try {
    return readlinkSync(`/proc/${pid}/fd/0`).replace(/^\/dev\//, '');
  } catch {
    // the process has just ended
    return '?';
  }
}

const two = (value: number): string => String(value).padStart(2, '0');

function clock(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

/** The time of day within the last 24 hours, else month and day. */
function shortTime(date: Date): string {
  if (Date.now() - date.getTime() < 86_400_000) return `${two(date.getHours())}:${two(date.getMinutes())}`;
  const month = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  return `${month[date.getMonth()]}${two(date.getDate())}`;
}
