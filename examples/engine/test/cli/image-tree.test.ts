/** `images --tree`: what stands where. */
import { expect, it } from 'vitest';
import { imageTree } from '../../src/cli/image-tree.ts';

type Image = Parameters<typeof imageTree>[0][number];
const id = (digit: string): string => `sha256:${digit.repeat(64)}`;
const image = (fields: Partial<Image>): Image =>
  ({ Id: id('a'), Size: 4_150_000, Containers: 0, RepoTags: ['busybox:latest'], ...fields }) as Image;

it('puts the names of one image above each other and its platforms below', () => {
  const platform = (architecture: string, containers: string[]) => ({
    ID: id(architecture === 'arm64' ? 'b' : 'c'),
    Available: architecture === 'amd64',
    Kind: 'image' as const,
    Size: { Content: 1_000_000, Total: 5_150_000 },
    ImageData: { Platform: { os: 'linux', architecture }, Containers: containers, Size: { Unpacked: 0 } },
  });
  const many = image({
    RepoTags: ['a:1', 'a:latest'],
    Manifests: [platform('amd64', ['x']), platform('arm64', [])],
  } as Partial<Image>);
  expect(imageTree([many], 100)).toBe(
    [
      'IMAGE            ID             DISK USAGE   CONTENT SIZE   USED',
      'a:1',
      'a:latest         aaaaaaaaaaaa   4.15MB       2MB',
      '├─ linux/amd64   cccccccccccc   5.15MB       1MB            ✔',
      '└─ linux/arm64   bbbbbbbbbbbb   5.15MB       1MB            not here',
    ].join('\n'),
  );
});

it('says which images have no name, and shortens what the terminal has no room for', () => {
  const long = `registry.example/${'x'.repeat(60)}:latest`;
  const [, untagged, named] = imageTree([image({ RepoTags: [] }), image({ RepoTags: [long] })], 80).split(
    '\n',
  );
  expect(untagged).toMatch(/^<untagged> /);
  expect(named).toMatch(/^registry\.example\/x+… +a{12}/);
  expect(named!.length).toBeLessThanOrEqual(80);
});
