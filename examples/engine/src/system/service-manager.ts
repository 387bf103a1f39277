/** systemd's half of a service: the sockets it opens for us, and what it is told of our life. Other managers do the same. */

/** A listening socket that was open when we started. */
export interface InheritedSocket {
  fd: number;
  /** Name of its unit, or `FileDescriptorName=` there. */
  name: string;
  /** Somebody listens on it already. */
  taken: boolean;
}

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3;

/**
 * The sockets passed by the protocol of sd_listen_fds(3). Its variables are taken out of `environment`: they are for this
 * process, and not for those that it starts.
 */
export function inheritedSockets(environment: NodeJS.ProcessEnv, pid: number): InheritedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = environment;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  if (Number(LISTEN_PID) !== pid) return [];
  const names = LISTEN_FDNAMES.split(':');
  return Array.from({ length: Number(LISTEN_FDS) || 0 }, (_, index) => ({
    fd: FIRST_FD + index,
    name: names[index] || 'unknown',
    taken: false,
  }));
}

/** Sends one datagram to a unix socket. @throws errno errors */
export type SendDatagram = (path: string, data: Uint8Array) => void;

/** Who started us, if it wants to know. */
export interface ServiceManager {
  /** Says `assignments` as sd_notify(3) does: `READY=1`, `STATUS=…`. Nothing happens when nobody wants to know. */
  notify(...assignments: string[]): void;
}

/** The manager that `NOTIFY_SOCKET` names; the variable is taken out of `environment`. */
export function serviceManager(environment: NodeJS.ProcessEnv, send: SendDatagram): ServiceManager {
  const path = environment['NOTIFY_SOCKET'];
  delete environment['NOTIFY_SOCKET'];
  return {
    notify(...assignments) {
      if (!path) return;
      try {
        send(path, Buffer.from(assignments.join('\n')));
      } catch (error) {
        // it may be gone before us; that must not end the engine
        process.stderr.write(`cannot notify ${path}: ${String(error)}\n`);
      }
    },
  };
}
