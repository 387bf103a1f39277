/** The json-file log, byte for byte. */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import type { LogFile } from '../src/runtime.ts';
import { collect, runToEnd, shellSpec } from '../src/testing/index.ts';
import { describeContainers, leftovers, makeLab } from './rootfs.ts';
import type { Lab } from './rootfs.ts';

interface Entry {
  log: string;
  stream: string;
  time: string;
}

describeContainers('the log of a container', () => {
  let lab: Lab;
  let count = 0;
  beforeAll(() => {
    lab = makeLab();
  });
  afterEach(() => expect(leftovers(lab)).toEqual([]));
  afterAll(() => lab.dispose());

  /** Runs a script whose stdin-less output is what the file in the root says. */
  async function log(script: string, options: Partial<LogFile> = {}): Promise<string> {
    const path = join(lab.directory, `log-${(count += 1)}`);
    await runToEnd(lab.runtime, 'c', {
      spec: shellSpec(lab.rootfs, script),
      stdio: { log: { path, format: 'json-file', ...options } },
    });
    return path;
  }

  async function logOf(bytes: Uint8Array): Promise<string> {
    writeFileSync(join(lab.rootfs, 'data'), bytes);
    return readFileSync(await log('cat /data'), 'utf8');
  }

  function entries(text: string): Entry[] {
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Entry);
  }

  it('has one object a line, with the keys in the order of Docker', async () => {
    const before = Date.now();
    const text = readFileSync(await log('echo hello; echo problem >&2'), 'utf8');
    const lines = text.split('\n');
    const time = String.raw`"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"`;
    expect(lines).toHaveLength(3);
    expect(lines.find((line) => line.includes('stdout'))).toMatch(
      new RegExp(String.raw`^\{"log":"hello\\n","stream":"stdout",${time}\}$`),
    );
    expect(lines.find((line) => line.includes('stderr'))).toMatch(
      new RegExp(String.raw`^\{"log":"problem\\n","stream":"stderr",${time}\}$`),
    );
    for (const { time: at } of entries(text)) {
      expect(Date.parse(at)).toBeGreaterThanOrEqual(before);
      expect(Date.parse(at)).toBeLessThanOrEqual(Date.now());
      // the fraction has no zeros at its end
      expect(at).not.toMatch(/\.\d*0Z$/);
    }
  });

  it('escapes as Go does', async () => {
    const text = await logOf(Buffer.from('\u0000\u0001\t\b\u001f "\\<>&\u007f\r ä€😀\u2028\u2029\n'));
    expect(text).toContain(
      String.raw`{"log":"\u0000\u0001\u0009\u0008\u001f \"\\\u003c\u003e\u0026` +
        '\u007f' +
        String.raw`\r ä€😀\u2028\u2029\n","stream":"stdout"`,
    );
  });

  it('replaces each byte that is no UTF-8', async () => {
    const cases: [bytes: number[], text: string][] = [
      [[0xff], String.raw`\ufffd`],
      [[0xc3], String.raw`\ufffd`],
      [[0xe2, 0x82], String.raw`\ufffd\ufffd`],
      [[0xc0, 0x80], String.raw`\ufffd\ufffd`],
      [[0xed, 0xa0, 0x80], String.raw`\ufffd\ufffd\ufffd`],
      [[0xf4, 0x90, 0x80, 0x80], String.raw`\ufffd\ufffd\ufffd\ufffd`],
      [[0xf0, 0x9f, 0x98, 0x80], '😀'],
      [[0xef, 0xbf, 0xbd], '\ufffd'],
      [[0xe2, 0x82, 0x41], String.raw`\ufffd\ufffdA`],
    ];
    const bytes = cases.flatMap(([sequence]) => [...sequence, 0x0a]);
    const lines = (await logOf(Uint8Array.from(bytes))).split('\n');
    cases.forEach(([, text], i) => expect(lines[i]).toContain(`{"log":"${text}\\n",`));
  });

  it('splits lines longer than 16 KiB, and gives the parts one time', async () => {
    const all = entries(await logOf(Buffer.from(`${'a'.repeat(40_000)}\n${'b'.repeat(16_384)}\nc\n`)));
    expect(all.map(({ log }) => [log[0], log.length])).toEqual([
      ['a', 16_384],
      ['a', 16_384],
      ['a', 40_000 - 2 * 16_384 + 1],
      ['b', 16_384],
      ['\n', 1],
      ['c', 2],
    ]);
    expect(new Set(all.slice(0, 3).map(({ time }) => time)).size).toBe(1);
  });

  it('keeps a last line without a line feed as it is', async () => {
    expect(entries(await logOf(Buffer.from('one\ntwo'))).map(({ log }) => log)).toEqual(['one\n', 'two']);
  });

  it('holds every byte of 20 MB, whoever attaches', async () => {
    const line = (i: number): string => `${i} ${'x'.repeat(i % 200)}\n`;
    let text = '';
    for (let i = 0; text.length < 20_000_000; i++) text += line(i);
    writeFileSync(join(lab.rootfs, 'data'), text);
    const path = join(lab.directory, 'log-large');
    const container = await lab.runtime.create('c', {
      spec: shellSpec(lab.rootfs, 'cat /data'),
      stdio: { log: { path, format: 'json-file' } },
    });
    const attachments = await Promise.all([container.attach(), container.attach()]);
    await container.start();
    const outputs = await Promise.all(attachments.map(collect));
    await container.wait();
    await container.delete();
    expect(outputs.map(({ stdout }) => stdout === text)).toEqual([true, true]);
    expect(
      entries(readFileSync(path, 'utf8'))
        .map(({ log }) => log)
        .join('') === text,
    ).toBe(true);
  });

  it('is complete when a client has attached and never reads', async () => {
    writeFileSync(join(lab.rootfs, 'data'), 'y\n'.repeat(4_000_000));
    const path = join(lab.directory, 'log-stalled');
    const container = await lab.runtime.create('c', {
      spec: shellSpec(lab.rootfs, 'cat /data'),
      stdio: { log: { path, format: 'json-file' } },
    });
    const stalled = await container.attach();
    const reader = await container.attach();
    await container.start();
    const { stdout } = await collect(reader);
    expect(stdout.length).toBe(8_000_000);
    expect((await container.wait()).exitCode).toBe(0);
    expect(entries(readFileSync(path, 'utf8'))).toHaveLength(4_000_000);
    await stalled.close();
    await container.delete();
  });

  it('rotates by size and keeps as many files as asked for', async () => {
    const path = await log('i=0; while [ $i -lt 300 ]; do echo number $i; i=$((i+1)); done', {
      maxSizeBytes: 2000,
      maxFiles: 3,
    });
    const files = [`${path}.2`, `${path}.1`, path].map((file) => readFileSync(file, 'utf8'));
    expect(existsSync(`${path}.3`)).toBe(false);
    const numbers = files.flatMap((text) => entries(text).map(({ log }) => Number(log.split(' ')[1])));
    // without a gap, up to the last
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, i) => 300 - numbers.length + i));
    for (const text of files.slice(0, 2)) expect(text.length).toBeLessThan(2000 + 100);
    expect(files[1]!.length).toBeGreaterThanOrEqual(2000);
  });

  it('starts over when only one file may be kept', async () => {
    const path = await log('i=0; while [ $i -lt 300 ]; do echo number $i; i=$((i+1)); done', {
      maxSizeBytes: 2000,
    });
    expect(existsSync(`${path}.1`)).toBe(false);
    expect(statSync(path).size).toBeLessThan(2100);
    expect(entries(readFileSync(path, 'utf8')).at(-1)?.log).toBe('number 299\n');
  });

  it('is appended to, and nobody else may read it', async () => {
    const path = await log('echo one');
    expect(statSync(path).mode & 0o777).toBe(0o640);
    await runToEnd(lab.runtime, 'c', {
      spec: shellSpec(lab.rootfs, 'echo two'),
      stdio: { log: { path, format: 'json-file' } },
    });
    expect(entries(readFileSync(path, 'utf8')).map(({ log }) => log)).toEqual(['one\n', 'two\n']);
  });

  it('has the output of a terminal as the terminal shows it', async () => {
    const path = join(lab.directory, 'log-tty');
    await runToEnd(lab.runtime, 'c', {
      spec: shellSpec(lab.rootfs, 'echo out; echo err >&2'),
      stdio: { terminal: true, log: { path, format: 'json-file' } },
    });
    const all = entries(readFileSync(path, 'utf8'));
    expect(all.map(({ log, stream }) => [log, stream])).toEqual([
      ['out\r\n', 'stdout'],
      ['err\r\n', 'stdout'],
    ]);
  });
});
