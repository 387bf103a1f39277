/** Images with the stock CLI: pull, list, tag, remove, mirrors. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { missingForEndToEnd, startLab, type Lab } from './lab.ts';

const missing = missingForEndToEnd();

describe.skipIf(missing !== undefined)(`images${missing ? ` (skipped: ${missing})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab({ mirror: true });
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());

  test('pull tells the steps, the digest and the status, and the second time that nothing is new', async () => {
    const image = `${lab.registry}fresh`;
    const first = await lab.ok(['pull', image]);
    expect(first).toMatch(/^Using default tag: latest\nlatest: Pulling from fresh\n/);
    expect(first).toMatch(/[0-9a-f]{12}: Pull complete/);
    expect(first).toMatch(/Digest: sha256:[0-9a-f]{64}/);
    expect(first).toContain(`Status: Downloaded newer image for ${image}:latest`);
    expect(await lab.ok(['pull', image])).toContain(`Status: Image is up to date for ${image}:latest`);
  });

  test('a name of Docker Hub comes from the configured mirror', async () => {
    expect(await lab.ok(['run', '--rm', 'hub-image'])).toBe('from the mirror');
    expect(await lab.ok(['images', '--format', '{{.Repository}}:{{.Tag}}', 'hub-image'])).toBe(
      'hub-image:latest',
    );
  });

  test("an image that nobody has is refused in dockerd's words", async () => {
    const result = await lab.docker(['pull', `${lab.registry}no/such:1`]);
    expect(result.code).toBe(1);
    expect(result.stderr).toMatch(/^Error response from daemon: .*(not found|manifest unknown)/);
  });

  test('a wrong reference is refused', async () => {
    expect((await lab.docker(['pull', 'box/UPPER'])).stderr).toContain('must be lowercase');
  });

  test('tag, inspect, history, list and remove agree', async () => {
    await lab.ok(['tag', lab.busybox, 'box:one']);
    await lab.ok(['tag', 'box:one', 'box:two']);
    const id = await lab.ok(['inspect', '-f', '{{.Id}}', 'box:one']);
    expect(await lab.ok(['images', '-q', '--no-trunc', 'box'])).toBe(`${id}\n${id}`);
    const [inspected] = JSON.parse(await lab.ok(['image', 'inspect', 'box:two']));
    expect(inspected.RepoTags).toEqual(expect.arrayContaining(['box:one', 'box:two', lab.busybox]));
    expect(inspected).toMatchObject({
      Os: 'linux',
      Config: { Cmd: ['sh'] },
      RootFS: { Type: 'layers', Layers: [expect.stringMatching(/^sha256:/)] },
    });
    expect(await lab.ok(['history', '-q', '--no-trunc', 'box:one'])).toContain(id);
    expect(await lab.ok(['rmi', 'box:one'])).toBe('Untagged: box:one');
    await lab.ok(['rmi', 'box:two']);
    expect((await lab.docker(['inspect', 'box:two'])).code).toBe(1);
  });

  test('an image that a container uses is not removed', async () => {
    await lab.ok(['create', '--name', 'user', 'hub-image']);
    const refused = await lab.docker(['rmi', 'hub-image']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/conflict: unable to (remove repository reference|delete)/);
    await lab.ok(['rm', 'user']);
    expect(await lab.ok(['rmi', 'hub-image'])).toMatch(/Untagged: hub-image:latest/);
  });

  test('version and info tell who answers', async () => {
    expect(await lab.ok(['version', '-f', '{{.Server.APIVersion}} {{.Server.MinAPIVersion}}'])).toBe(
      '1.51 1.24',
    );
    expect(await lab.ok(['info', '-f', '{{.Driver}} {{.DockerRootDir}} {{.OSType}}'])).toBe(
      `overlay2 ${lab.dataRoot} linux`,
    );
  });
});
