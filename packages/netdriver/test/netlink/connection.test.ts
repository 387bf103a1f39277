/** The connection: pairing answers with requests, and the kernel's refusals as errors. */

import { describe, expect, it } from 'vitest';

import {
  AttributeWriter,
  decodeMessages,
  deleteLink,
  dumpLinks,
  encodeMessage,
  getLink,
  NetlinkConnection,
  NetlinkDecodeError,
  NetlinkError,
  NLM_F,
  NLMSG,
} from '../../src/netlink/index.ts';
import { batch, deleteTable, NFPROTO } from '../../src/nftables/index.ts';
import { acknowledgeAll, netlinkAnswer, scriptNetlink } from '../../src/testing/index.ts';

const table = deleteTable({ family: NFPROTO.INET, name: 'tare' });

describe('a netlink connection', () => {
  it('asks for an acknowledgement of every request and numbers them on', async () => {
    const kernel = scriptNetlink();
    using connection = new NetlinkConnection(kernel);
    await connection.send([deleteLink({ index: 1 }), deleteLink({ index: 2 })]);
    await connection.send(deleteLink({ index: 3 }));
    expect(kernel.exchanges.length).toBe(2);
    expect(kernel.messages().map(({ sequence, flags }) => [sequence, flags])).toEqual([
      [1, NLM_F.REQUEST | NLM_F.ACK],
      [2, NLM_F.REQUEST | NLM_F.ACK],
      [3, NLM_F.REQUEST | NLM_F.ACK],
    ]);
  });

  it("tells which request failed, with the kernel's own words and the offset of the attribute", async () => {
    const extended = new AttributeWriter().string(1, 'Device does not exist').u32(2, 36).finish();
    using connection = new NetlinkConnection(
      scriptNetlink(([first, second]) => [netlinkAnswer(first!, 0), netlinkAnswer(second!, 19, extended)]),
    );
    const error = await connection
      .send([deleteLink({ index: 1 }), deleteLink({ name: 'eth9' })])
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(NetlinkError);
    expect(error).toMatchObject({
      name: 'NetlinkError',
      code: 'ENODEV',
      errno: 19,
      offset: 36,
      kernelMessage: 'Device does not exist',
      message: 'delete link eth9: ENODEV: Device does not exist',
    });
  });

  it('reads the extended acknowledgement behind a request that the kernel repeats whole', async () => {
    using connection = new NetlinkConnection(
      scriptNetlink(([request]) => {
        const head = Buffer.alloc(4);
        head.writeInt32LE(-22);
        const echo = encodeMessage(request!, request!.sequence);
        const text = new AttributeWriter().string(1, 'no').finish();
        const payload = Buffer.concat([head, echo, text]);
        return [encodeMessage({ type: NLMSG.ERROR, flags: NLM_F.ACK_TLVS, payload }, request!.sequence)];
      }),
    );
    await expect(connection.send(deleteLink({ index: 1 }))).rejects.toThrow('delete link 1: EINVAL: no');
  });

  it('passes over errors that do not count, and no others', async () => {
    using connection = new NetlinkConnection(
      scriptNetlink((requests) => requests.map((request, i) => netlinkAnswer(request, [19, 1][i]!))),
    );
    const ignore = { ignore: ['ENODEV'] };
    await connection.send(deleteLink({ index: 1 }), ignore);
    await expect(
      connection.send([deleteLink({ index: 1 }), deleteLink({ index: 2 })], ignore),
    ).rejects.toMatchObject({
      code: 'EPERM',
    });
  });

  it('puts the parts of a dump together, and asks again when the list changed under it', async () => {
    let attempts = 0;
    using connection = new NetlinkConnection(
      scriptNetlink(([request]) => {
        const part = (flags: number) =>
          encodeMessage({ type: 16, flags, payload: new Uint8Array(16) }, request!.sequence);
        const done = encodeMessage(
          { type: NLMSG.DONE, flags: 2, payload: new Uint8Array(4) },
          request!.sequence,
        );
        const changed = ++attempts === 1 ? NLM_F.DUMP_INTR : 0;
        return [Buffer.concat([part(2), part(2 | changed)]), part(2), done];
      }),
    );
    expect((await connection.ask(dumpLinks())).length).toBe(3);
    expect(attempts).toBe(2);
  });

  it('pays no heed to messages that answer something else', async () => {
    using connection = new NetlinkConnection(
      scriptNetlink((requests) => [
        netlinkAnswer({ ...requests[0]!, sequence: 999 }, 1),
        ...acknowledgeAll(requests),
      ]),
    );
    await connection.send(deleteLink({ index: 1 }));
  });

  it('acknowledges only the last request of a transaction', async () => {
    const kernel = scriptNetlink();
    using connection = new NetlinkConnection(kernel);
    await connection.transact(batch([table, table, table]));
    const flags = kernel.messages().map(({ flags }) => flags & NLM_F.ACK);
    expect(flags).toEqual([0, 0, 0, NLM_F.ACK, 0]);
  });

  it('fails a transaction with the first refusal, also one of its frame', async () => {
    using connection = new NetlinkConnection(
      scriptNetlink((requests) => [netlinkAnswer(requests[0]!, 85), netlinkAnswer(requests[2]!, 0)]),
    );
    await expect(connection.transact(batch([table, table], { generation: 3 }))).rejects.toMatchObject({
      code: 'ERESTART',
      message: 'begin batch: ERESTART',
    });
  });

  it('says so when the answer is cut off or missing', async () => {
    const silent = new NetlinkConnection(scriptNetlink(() => []));
    await expect(silent.send(deleteLink({ index: 1 }))).rejects.toBeInstanceOf(NetlinkDecodeError);
    await expect(silent.ask(getLink({ index: 1 }))).rejects.toBeInstanceOf(NetlinkDecodeError);
    await expect(silent.transact(batch([table]))).rejects.toBeInstanceOf(NetlinkDecodeError);
    const cut = new NetlinkConnection(
      scriptNetlink((requests) => [acknowledgeAll(requests)[0]!.subarray(0, 18)]),
    );
    await expect(cut.send(deleteLink({ index: 1 }))).rejects.toBeInstanceOf(NetlinkDecodeError);
  });

  it('sends nothing once it is closed', async () => {
    const connection = new NetlinkConnection(scriptNetlink());
    connection.close();
    connection.close();
    await expect(connection.send(deleteLink({ index: 1 }))).rejects.toMatchObject({ code: 'CLOSED' });
  });

  it('sends a transaction in one piece, framed', async () => {
    const kernel = scriptNetlink();
    using connection = new NetlinkConnection(kernel);
    await connection.transact(batch([table], { generation: 5 }));
    expect(kernel.exchanges.length).toBe(1);
    const [begin, inner, end] = decodeMessages(kernel.exchanges[0]!.sent);
    expect([begin!.type, inner!.type, end!.type]).toEqual([0x10, (10 << 8) | 2, 0x11]);
    expect(Buffer.from(begin!.payload).toString('hex')).toBe('0000000a0800010000000005');
    expect(Buffer.from(end!.payload).toString('hex')).toBe('0000000a');
  });
});
