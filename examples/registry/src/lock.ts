/** One process at a time may use a directory: two would each sweep away what the other has just written. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Takes `directory`, making it when it is not there, until the result is disposed of or the process ends, however it ends.
 *
 * @throws {Error} when another process has it
 */
export async function lockDirectory(directory: string): Promise<AsyncDisposable> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, 'lock');
  const own = `${process.pid} ${await startOf(process.pid)}`;
  for (let tries = 0; ; tries++) {
    try {
      await writeFile(path, own, { flag: 'wx' });
      return { [Symbol.asyncDispose]: () => rm(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const [pid, start] = (await readFile(path, 'utf8')).split(' ');
    if (tries > 3 || (start !== undefined && (await startOf(Number(pid))) === start)) {
      throw new Error(`${directory} is in use by the process ${pid}; one registry at a time may have it`);
    }
    // its owner has crashed
    await rm(path, { force: true });
  }
}

/** When a process began, by the clock of the kernel: another one that later gets its number began at another time. */
async function startOf(pid: number): Promise<string> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // the name before it may hold spaces and brackets
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    // gone, or not on Linux, where the number alone has to do
    return '';
  }
}
