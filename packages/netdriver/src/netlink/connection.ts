/**
 * One netlink connection: numbers requests, pairs the kernel's answers with them, puts dumps together, and turns
 * refusals into {@link NetlinkError}.
 */

import { NetlinkDecodeError, NetlinkError, NetdriverError } from '../errors.ts';
import {
  decodeAnswer,
  decodeMessages,
  encodeMessage,
  NLM_F,
  NLMSG,
  type NetlinkMessage,
  type NetlinkRequest,
} from './message.ts';

/**
 * What a connection needs of a kernel socket; `NetlinkSocket` of `@tare/runtime-native/netlink` is one. The connection
 * owns its socket and closes it.
 */
export interface NetlinkTransport {
  /**
   * Sends `bytes` as one datagram and returns every datagram that answers it. Runs off the JavaScript thread: the
   * kernel does the work inside of the call, and some takes it tens of milliseconds. Requests run one after another, in
   * the order of their calls.
   */
  request(bytes: Uint8Array): Promise<Uint8Array[]>;
  close(): void;
}

/** How often a dump that was changed under our hands is asked for again. */
const DUMP_ATTEMPTS = 8;

/** Talks to one subsystem of the kernel, in one network namespace. */
export class NetlinkConnection {
  readonly #transport: NetlinkTransport;
  #sequence = 0;
  #closed = false;

  constructor(transport: NetlinkTransport) {
    this.#transport = transport;
  }

  /**
   * Sends requests in one piece; the kernel works them off in order, each on its own, also after one that failed.
   *
   * @throws {NetlinkError} of the first request that failed; `ignore` names errnos (`'ENOENT'`) that do not count
   */
  async send(
    requests: NetlinkRequest | readonly NetlinkRequest[],
    options?: { ignore?: readonly string[] },
  ): Promise<void> {
    const list = Array.isArray(requests)
      ? (requests as readonly NetlinkRequest[])
      : [requests as NetlinkRequest];
    const errors = await this.sendEach(list);
    const error = errors.find((error) => error !== undefined && !options?.ignore?.includes(error.code));
    if (error) throw error;
  }

  /** Sends requests in one piece and tells for each whether it failed. */
  async sendEach(requests: readonly NetlinkRequest[]): Promise<(NetlinkError | undefined)[]> {
    if (requests.length === 0) return [];
    const first = this.#take(requests.length);
    const messages = await this.#exchange(
      requests.map((request, i) =>
        encodeMessage({ ...request, flags: request.flags | NLM_F.REQUEST | NLM_F.ACK }, first + i),
      ),
    );
    const errors: (NetlinkError | undefined)[] = [];
    let answered = 0;
    for (const message of messages) {
      const request = requests[message.sequence - first];
      if (!request || message.type !== NLMSG.ERROR) continue;
      errors[message.sequence - first] = refusal(message, request);
      answered++;
    }
    if (answered < requests.length) throw unanswered(requests[0]!);
    return errors;
  }

  /**
   * Sends a transaction (see `batch`): its first and last request frame it.
   *
   * @throws {NetlinkError} of the first request that failed; then nothing of the transaction took effect
   */
  async transact(requests: readonly NetlinkRequest[]): Promise<void> {
    if (requests.length <= 2) return;
    const first = this.#take(requests.length);
    // only the last is acknowledged, a thousand would overflow the receive buffer; what fails is reported regardless
    const last = requests.length - 2;
    const messages = await this.#exchange(
      requests.map((request, i) =>
        encodeMessage(
          { ...request, flags: request.flags | NLM_F.REQUEST | (i === last ? NLM_F.ACK : 0) },
          first + i,
        ),
      ),
    );
    let answered = false;
    for (const message of messages) {
      const request = requests[message.sequence - first];
      if (!request || message.type !== NLMSG.ERROR) continue;
      const error = refusal(message, request);
      if (error) throw error;
      answered = true;
    }
    if (!answered) throw unanswered(requests[last]!);
  }

  /**
   * Sends one request and returns the messages that answer it: one for a plain question, many for a dump.
   *
   * @throws {NetlinkError} when the kernel refuses
   */
  async ask(request: NetlinkRequest): Promise<NetlinkMessage[]> {
    for (let attempt = 1; ; attempt++) {
      const { messages, interrupted } = await this.#ask(request);
      if (!interrupted) return messages;
      if (attempt === DUMP_ATTEMPTS) {
        throw new NetdriverError(
          'INTERRUPTED',
          `${request.description}: the kernel's list kept changing while it was read, ${DUMP_ATTEMPTS} times; try again`,
        );
      }
    }
  }

  /** Closes the socket; what is under way fails. Closing twice is fine. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#transport.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #ask(request: NetlinkRequest): Promise<{ messages: NetlinkMessage[]; interrupted: boolean }> {
    const sequence = this.#take(1);
    const dump = (request.flags & NLM_F.DUMP) === NLM_F.DUMP;
    // a dump ends with DONE; a plain question with the acknowledgement after its answer
    const flags = request.flags | NLM_F.REQUEST | (dump ? 0 : NLM_F.ACK);
    const messages: NetlinkMessage[] = [];
    let interrupted = false;
    for (const message of await this.#exchange([encodeMessage({ ...request, flags }, sequence)])) {
      if (message.sequence !== sequence) continue;
      if ((message.flags & NLM_F.DUMP_INTR) !== 0) interrupted = true;
      if (message.type === NLMSG.ERROR || message.type === NLMSG.DONE) {
        const error = refusal(message, request);
        if (error) throw error;
        return { messages, interrupted };
      }
      messages.push(message);
    }
    throw unanswered(request);
  }

  async #exchange(encoded: readonly Buffer[]): Promise<NetlinkMessage[]> {
    if (this.#closed) throw new NetdriverError('CLOSED', 'the netlink connection is closed');
    const datagrams = await this.#transport.request(
      encoded.length === 1 ? encoded[0]! : Buffer.concat(encoded),
    );
    return datagrams.flatMap((datagram) => decodeMessages(datagram));
  }

  /** The first of `count` fresh sequence numbers, which stay below 2^32 and never are 0, the kernel's own. */
  #take(count: number): number {
    if (this.#sequence + count >= 2 ** 32) this.#sequence = 0;
    const first = this.#sequence + 1;
    this.#sequence += count;
    return first;
  }
}

function unanswered(request: NetlinkRequest): NetlinkDecodeError {
  return new NetlinkDecodeError(`${request.description}: the kernel's answer is incomplete`);
}

function refusal(message: NetlinkMessage, request: NetlinkRequest): NetlinkError | undefined {
  const { errno, message: kernelMessage, offset } = decodeAnswer(message);
  if (errno === 0) return undefined;
  return new NetlinkError(errno, { request: request.description, kernelMessage, offset });
}
