/** Files of a result into a directory: `--output dest`. */
import { readdir, lstat, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Packet } from '../../buildkit/gen/session_pb.ts';
import { Outbox } from '../../buildkit/wire/outbox.ts';
import { receiveFiles } from '../../buildkit/wire/receive-files.ts';
import { DirectoryTarget } from './directory-target.ts';

/** Takes everything, then puts it in place: what is there already stays, unless it has the name of something new. */
export async function* receiveDirectory(
  packets: AsyncIterable<Packet>,
  destination: string,
): AsyncGenerator<Packet, void, undefined> {
  await mkdir(destination, { recursive: true });
  const whole = await mkdtemp(join(dirname(destination), '.tare-output-'));
  try {
    const requests = new Outbox<Packet>();
    using target = new DirectoryTarget(whole);
    const received = receiveFiles(packets, requests, target, { name: 'the result' });
    received.catch(() => undefined);
    yield* requests;
    await received;
    await moveInto(whole, destination);
  } finally {
    await rm(whole, { recursive: true, force: true });
  }
}

async function moveInto(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    const isDirectory = async (path: string): Promise<boolean> =>
      lstat(path).then(
        (stat) => stat.isDirectory(),
        () => false,
      );
    if ((await isDirectory(source)) && (await isDirectory(target))) await moveInto(source, target);
    else {
      await rm(target, { recursive: true, force: true });
      await rename(source, target);
    }
  }
}
