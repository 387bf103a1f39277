/** `images --tree`: images with what they hold for each platform below them. */
import type { ImageSummary } from './commands/images.ts';
import { decimalSize, ellipsis, shortId } from './format/units.ts';

/** One manifest of an image, as `manifests=true` has it. */
interface ManifestSummary {
  ID: string;
  Available: boolean;
  Kind: 'image' | 'attestation' | 'unknown';
  Size: { Content: number; Total: number };
  ImageData?: {
    Platform: { os: string; architecture: string; variant?: string };
    Containers: string[] | null;
    Size: { Unpacked: number };
  };
}

type Row = readonly [name: string, id: string, disk: string, content: string, extra: string];

const header: Row = ['IMAGE', 'ID', 'DISK USAGE', 'CONTENT SIZE', 'USED'];

const size = (bytes: number): string => decimalSize(bytes, 3);

/** The listing, at most `columns` wide unless the figures alone are wider. */
export function imageTree(
  images: readonly (ImageSummary & { Manifests?: ManifestSummary[] | null })[],
  columns: number,
): string {
  const rows: Row[] = [header];
  for (const image of images) {
    const names = (image.RepoTags ?? []).filter((name) => name !== '<none>:<none>');
    const manifests = (image.Manifests ?? []).filter(({ Kind }) => Kind === 'image');
    const content = manifests.reduce((sum, { Size }) => sum + Size.Content, 0);
    // several names of one image stand above each other, the figures beside the last
    rows.push(...names.slice(0, -1).map((name): Row => [name, '', '', '', '']));
    rows.push([
      names.at(-1) ?? '<untagged>',
      shortId(image.Id),
      size(image.Size),
      size(content),
      image.Containers > 0 ? '✔' : '',
    ]);
    for (const [index, { ID, Size, Available, ImageData }] of manifests.entries()) {
      const { os, architecture, variant } = ImageData?.Platform ?? { os: 'unknown', architecture: 'unknown' };
      const branch = index === manifests.length - 1 ? '└─' : '├─';
      rows.push([
        `${branch} ${[os, architecture, variant].filter(Boolean).join('/')}`,
        shortId(ID),
        size(Size.Total),
        size(Size.Content),
        Available ? ((ImageData?.Containers ?? []).length > 0 ? '✔' : '') : 'not here',
      ]);
    }
  }
  return layOut(rows, columns);
}

function layOut(rows: readonly Row[], columns: number): string {
  const widths = header.map((_, at) => Math.max(...rows.map((row) => row[at]!.length)));
  const others = widths.slice(1).reduce((sum, width) => sum + width + 3, 0);
  widths[0] = Math.min(widths[0]!, Math.max(20, columns - others));
  return rows
    .map((row) =>
      row
        .map((text, at) =>
          at === 0 ? ellipsis(text, widths[0]!).padEnd(widths[0]!) : text.padEnd(widths[at]!),
        )
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}
