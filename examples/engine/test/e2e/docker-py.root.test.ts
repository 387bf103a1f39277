/** docker-py: the client of scripts and of many tools. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { componentFolders, COMPONENTS, componentPath } from '../../../../test/lab/debian.ts';
import { run } from '../../../../test/lab/process.ts';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const library = componentPath(COMPONENTS.dockerPy);
const python = await run('/usr/bin/python3', ['--version']).catch(() => undefined);
const missing =
  missingForEndToEnd() ??
  (library === undefined ? 'needs python3-docker' : undefined) ??
  (python === undefined ? 'needs python3' : undefined);

describe.skipIf(missing !== undefined)(`docker-py${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  let folder: string;
  beforeAll(async () => {
    lab = await startLab();
    folder = await mkdtemp(join(tmpdir(), 'py-'));
    await writeFile(
      join(folder, 'Dockerfile'),
      `FROM ${lab.busybox}\nARG who\nRUN echo built by $who > /x\nCMD ["cat", "/x"]\n`,
    );
  });
  afterAll(async () => {
    await lab?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('does what scripts do with it', async () => {
    const packages = componentFolders(COMPONENTS.dockerPy).map((path) =>
      join(path, 'usr/lib/python3/dist-packages'),
    );
    const result = await run(
      '/usr/bin/python3',
      ['-B', '-W', 'ignore', join(import.meta.dirname, 'docker-py.py'), lab.busybox, folder],
      {
        env: { PATH: process.env.PATH, HOME: folder, DOCKER_HOST: lab.host, PYTHONPATH: packages.join(':') },
        timeoutMs: 60_000,
      },
    );
    expect(result.stderr).toBe('');
    expect(result.stdout.trim().split('\n')).toEqual([
      'version True linux',
      'run 4 bad',
      'not found 404',
      'image not found',
      'created running 67108864 v',
      "exec 7 ['1', 'host', '100', '10.9.8.7', 'other']",
      "demux b'out\\n' b'err\\n'",
      'stats 67108864 True',
      expect.stringMatching(/^top (UID|PID)$/),
      "archive file b'from python'",
      "diff ['/scratch', '/tmpfs', '/vol']",
      "logs ['started', 'stopping'] 0",
      "commit ['pycommit:one']",
      "events ['create', 'start']",
      "attach b'typed\\n'",
      "network b'page\\n'",
      "members ['pyweb']",
      "volumes ['pyvol']",
      "build ['pybuilt:1'] True",
      "built b'built by docker-py\\n'",
      'build error True',
      "load ['pybuilt:1']",
      'history True True',
    ]);
  });
});
