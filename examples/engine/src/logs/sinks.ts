/** Where forwarded log entries go: syslog by socket or network, the journal by its socket. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { connect as connectTls } from 'node:tls';

import { invalid, systemError } from '../errors.ts';
import type { LogEntry } from './json-file.ts';
import type { LogDriver } from './drivers.ts';

/** Takes log entries, in order. */
export interface LogSink extends AsyncDisposable {
  /** Resolves when they are on their way. @throws when whoever takes them is gone */
  send(entries: readonly LogEntry[]): Promise<void>;
}

/** Sends datagrams to a unix socket, which `node:dgram` cannot. */
export interface UnixDatagrams extends Disposable {
  /** @returns false when the receiver's queue is full */
  send(data: Uint8Array): boolean;
}
/** Opens one. @throws `ENOENT`, `ECONNREFUSED` when nobody listens */
export type OpenUnixDatagrams = (path: string) => UnixDatagrams;

/** The container whose log it is. */
export interface LogSource {
  id: string;
  name: string;
  imageId: string;
  imageName: string;
  /** Labels and variables that are sent along. */
  attributes: Readonly<Record<string, string>>;
  options: Readonly<Record<string, string>>;
}

const JOURNAL_SOCKET = '/run/systemd/journal/socket';
const SYSLOG_SOCKET = '/dev/log';

/** Opens the sink of a driver; undefined for one whose logs go nowhere else. @throws {EngineError} `INVALID`, `SYSTEM` */
export async function openSink(
  driver: LogDriver,
  source: LogSource,
  openDatagrams: OpenUnixDatagrams,
): Promise<LogSink | undefined> {
  try {
    if (driver === 'journald') return journal(openDatagrams(JOURNAL_SOCKET), source);
    if (driver === 'syslog') return await syslog(source, openDatagrams);
    return undefined;
  } catch (error) {
    if ((error as { name?: string }).name === 'EngineError') throw error;
    const where = driver === 'journald' ? JOURNAL_SOCKET : source.options['syslog-address'] || SYSLOG_SOCKET;
    throw systemError(
      `failed to initialize logging driver: ${driver} cannot be reached at ${where}: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** Fields of a source that a tag may name, as `{{.Name}}`. */
function tagOf({ options, ...source }: LogSource): string {
  const fields: Record<string, string> = {
    ID: source.id.slice(0, 12),
    FullID: source.id,
    Name: source.name,
    ImageID: source.imageId.replace(/^sha256:/, '').slice(0, 12),
    ImageFullID: source.imageId,
    ImageName: source.imageName,
    DaemonName: 'docker',
  };
  return (options['tag'] || '{{.ID}}').replace(/\{\{\s*\.(\w+)\s*\}\}/g, (text, name: string) => {
    const value = fields[name];
    if (value === undefined)
      throw invalid(`invalid log tag: ${text} is none of ${Object.keys(fields).join(', ')}`);
    return value;
  });
}

/** How long to wait for a full receiver, in milliseconds. */
const FULL_MS = 20;

async function sendAll(socket: UnixDatagrams, datagrams: Iterable<Buffer>): Promise<void> {
  for (const data of datagrams) {
    while (!socket.send(data)) await new Promise((resolve) => setTimeout(resolve, FULL_MS));
  }
}

/** The journal's native protocol: `FIELD=value` lines, one datagram an entry. */
function journal(socket: UnixDatagrams, source: LogSource): LogSink {
  const tag = tagOf(source);
  const common = {
    SYSLOG_IDENTIFIER: tag,
    CONTAINER_TAG: tag,
    CONTAINER_ID: source.id.slice(0, 12),
    CONTAINER_ID_FULL: source.id,
    CONTAINER_NAME: source.name,
    IMAGE_NAME: source.imageName,
    ...Object.fromEntries(
      Object.entries(source.attributes).map(([key, value]) => [journalField(key), value]),
    ),
  };
  return {
    send: (entries) =>
      sendAll(
        socket,
        entries.map(({ stream, text, time }) =>
          encodeJournal({
            MESSAGE: text.replace(/\n$/, ''),
            PRIORITY: stream === 'stderr' ? '3' : '6',
            SYSLOG_TIMESTAMP: time,
            ...(text.endsWith('\n') ? {} : { CONTAINER_PARTIAL_MESSAGE: 'true' }),
            ...common,
          }),
        ),
      ),
    [Symbol.asyncDispose]() {
      socket[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

/** Names of the journal's fields are upper case, and do not begin with an underscore or a digit. */
function journalField(name: string): string {
  return (
    name
      .toUpperCase()
      .replace(/[^A-Z0-9_]/g, '_')
      .replace(/^[_0-9]+/, '') || 'ATTRIBUTE'
  );
}

/** A value with line feeds goes by its length. */
export function encodeJournal(fields: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(fields).map(([name, value]) => {
      if (!value.includes('\n')) return Buffer.from(`${name}=${value}\n`);
      const bytes = Buffer.from(value);
      const length = Buffer.alloc(8);
      length.writeBigUInt64LE(BigInt(bytes.length));
      return Buffer.concat([Buffer.from(`${name}\n`), length, bytes, Buffer.from('\n')]);
    }),
  );
}

const FACILITIES = (
  'kern user mail daemon auth syslog lpr news uucp cron authpriv ftp ntp security console solaris-cron ' +
  'local0 local1 local2 local3 local4 local5 local6 local7'
).split(' ');

function facility(text: string | undefined): number {
  if (!text) return FACILITIES.indexOf('daemon');
  const number = /^\d+$/.test(text) ? Number(text) : FACILITIES.indexOf(text);
  if (number < 0 || number > 23) throw invalid(`invalid syslog facility: ${text}`);
  return number;
}

/** One entry as syslog has it, without what ends it on a stream. */
export function encodeSyslog(
  { stream, text, time }: LogEntry,
  as: { format: string; facility: number; tag: string; remote: boolean },
): string {
  const priority = as.facility * 8 + (stream === 'stderr' ? 3 : 6);
  const message = text.replace(/\n$/, '');
  if (as.format.startsWith('rfc5424')) {
    const digits = as.format.endsWith('micro') ? 6 : 0;
    const [seconds = '', fraction = ''] = time.replace(/Z$/, '').split('.');
    const stamp = digits > 0 ? `${seconds}.${fraction.padEnd(digits, '0').slice(0, digits)}Z` : `${seconds}Z`;
    return `<${priority}>1 ${stamp} ${hostname()} ${as.tag} ${process.pid} ${as.tag} - ${message}`;
  }
  const date = new Date(time);
  const month = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ')[date.getMonth()];
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) =>
    String(part).padStart(2, '0'),
  );
  const stamp = `${month} ${String(date.getDate()).padStart(2)} ${clock.join(':')}`;
  return `<${priority}>${stamp}${as.remote ? ` ${hostname()}` : ''} ${as.tag}[${process.pid}]: ${message}`;
}

const FORMATS = ['', 'rfc3164', 'rfc5424', 'rfc5424micro'];

async function syslog(source: LogSource, openDatagrams: OpenUnixDatagrams): Promise<LogSink> {
  const { options } = source;
  const format = options['syslog-format'] ?? '';
  if (!FORMATS.includes(format)) throw invalid(`invalid syslog format: ${format}`);
  const address = options['syslog-address'] || `unixgram://${SYSLOG_SOCKET}`;
  const [, scheme = '', rest = ''] = /^([a-z+]+):\/\/(.+)$/.exec(address) ?? [];
  const remote = !scheme.startsWith('unix');
  const as = { format, facility: facility(options['syslog-facility']), tag: tagOf(source), remote };
  const encoded = (entries: readonly LogEntry[]): string[] => entries.map((entry) => encodeSyslog(entry, as));
  if (scheme === 'unix' || scheme === 'unixgram') {
    const socket = openDatagrams(rest);
    return {
      send: (entries) =>
        sendAll(
          socket,
          encoded(entries).map((text) => Buffer.from(text)),
        ),
      [Symbol.asyncDispose]() {
        socket[Symbol.dispose]();
        return Promise.resolve();
      },
    };
  }
  const { host, port } = hostAndPort(rest, address);
  if (scheme === 'udp') {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    return {
      async send(entries) {
        for (const text of encoded(entries)) {
          const { promise, resolve, reject } = Promise.withResolvers<void>();
          socket.send(text, port, host, (error) => (error ? reject(error) : resolve()));
          await promise;
        }
      },
      [Symbol.asyncDispose]() {
        socket.close();
        return Promise.resolve();
      },
    };
  }
  if (scheme !== 'tcp' && scheme !== 'tcp+tls') throw invalid(`unsupported scheme: '${scheme}'`);
  const stream = await openStream(scheme, host, port, options);
  return {
    async send(entries) {
      if (stream.destroyed || !stream.writable)
        throw systemError(`syslog at ${address} has closed the connection`);
      const data = encoded(entries)
        .map((text) => `${text}\n`)
        .join('');
      if (!stream.write(data)) await Promise.race([once(stream, 'drain'), once(stream, 'close')]);
    },
    async [Symbol.asyncDispose]() {
      if (stream.destroyed) return;
      const closed = once(stream, 'close');
      stream.destroySoon();
      await closed;
    },
  };
}

function hostAndPort(text: string, address: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  if (!match) throw invalid(`invalid syslog-address: ${address}`);
  return { host: match[1] ?? match[2]!, port: Number(match[3] ?? 514) };
}

async function openStream(
  scheme: string,
  host: string,
  port: number,
  options: Readonly<Record<string, string>>,
): Promise<Socket> {
  const file = (key: string): Buffer | undefined => (options[key] ? readFileSync(options[key]) : undefined);
  const tls = scheme === 'tcp+tls';
  const [ca, cert, key] = ['syslog-tls-ca-cert', 'syslog-tls-cert', 'syslog-tls-key'].map(file);
  const stream = tls
    ? connectTls({
        host,
        port,
        servername: host,
        ...(ca ? { ca } : {}),
        ...(cert ? { cert } : {}),
        ...(key ? { key } : {}),
        rejectUnauthorized: options['syslog-tls-skip-verify'] === undefined,
      })
    : connectTcp({ host, port });
  await once(stream, tls ? 'secureConnect' : 'connect');
  // its end is seen at the next entry
  stream.on('error', () => undefined);
  stream.resume();
  stream.unref();
  return stream;
}
