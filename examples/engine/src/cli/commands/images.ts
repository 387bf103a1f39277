/** `tare images`: lists images, a line for each name. */
import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import type { Cli } from '../cli.ts';
import { UsageError } from '../errors.ts';
import { filterFlag, withFilter, type Filters } from '../filter-flag.ts';
import { flagName, string, toggle } from '../flags.ts';
import { formatHelp } from '../format-flag.ts';
import { ago, decimalSize, shortId } from '../format/units.ts';
import { printListing, type Listing } from '../output.ts';
import { goTime } from './ps.ts';

/** An image as the API lists it. */
export interface ImageSummary {
  Id: string;
  RepoTags: string[] | null;
  RepoDigests: string[] | null;
  Created: number;
  Size: number;
  SharedSize: number;
  Containers: number;
}

/** One line of the listing: an image under one of its names. */
export interface ImageRow {
  image: ImageSummary;
  repository: string;
  tag: string;
  digest: string;
}

const none = '<none>';

/** Columns of `images`. */
export function imageListing(truncate: boolean, digests: boolean): Listing<ImageRow> {
  const optional = (value: number, text: string): string => (value === -1 ? 'N/A' : text);
  return {
    columns: {
      ID: { header: 'IMAGE ID', value: ({ image }) => (truncate ? shortId(image.Id) : image.Id) },
      Repository: { header: 'REPOSITORY', value: ({ repository }) => repository },
      Tag: { header: 'TAG', value: ({ tag }) => tag },
      Digest: { header: 'DIGEST', value: ({ digest }) => digest },
      CreatedSince: {
        header: 'CREATED',
        value: ({ image }) => (image.Created ? ago(image.Created, Date.now()) : 'N/A'),
      },
      CreatedAt: { header: 'CREATED AT', value: ({ image }) => goTime(image.Created) },
      Size: { header: 'SIZE', value: ({ image }) => decimalSize(image.Size, 3) },
      VirtualSize: { header: 'SIZE', value: ({ image }) => decimalSize(image.Size) },
      SharedSize: {
        header: 'SHARED SIZE',
        value: ({ image }) => optional(image.SharedSize, decimalSize(image.SharedSize)),
      },
      UniqueSize: {
        header: 'UNIQUE SIZE',
        value: ({ image }) => optional(image.SharedSize, decimalSize(image.Size - image.SharedSize)),
      },
      Containers: {
        header: 'CONTAINERS',
        value: ({ image }) => optional(image.Containers, String(image.Containers)),
      },
    },
    typeName: '*formatter.imageContext',
    table: `{{.Repository}}\t{{.Tag}}${digests ? '\t{{.Digest}}' : ''}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}`,
  };
}

/** Splits `localhost:5000/a:tag` at the tag's colon and `a@sha256:…` at the at sign. */
function splitName(name: string): { repository: string; target: string } {
  const at = name.includes('@') ? name.indexOf('@') : name.lastIndexOf(':');
  return { repository: name.slice(0, at), target: name.slice(at + 1) };
}

/**
 * One row a tag; with `digests`, a tag is repeated for every digest of its repository, and digests without a tag get a
 * row of their own.
 */
export function imageRows(images: readonly ImageSummary[], digests: boolean): ImageRow[] {
  return images.flatMap((image): ImageRow[] => {
    const tags = (image.RepoTags ?? []).filter((name) => name !== '<none>:<none>').map(splitName);
    const hashes = (image.RepoDigests ?? []).filter((name) => name !== '<none>@<none>').map(splitName);
    if (tags.length === 0 && hashes.length === 0)
      return [{ image, repository: none, tag: none, digest: none }];
    const repositories = [...new Set([...tags, ...hashes].map(({ repository }) => repository))];
    return repositories.flatMap((repository): ImageRow[] => {
      const ownTags = tags.filter((name) => name.repository === repository).map(({ target }) => target);
      const ownHashes = hashes.filter((name) => name.repository === repository).map(({ target }) => target);
      if (!digests) {
        return (ownTags.length > 0 ? ownTags : [none]).map((tag) => ({
          image,
          repository,
          tag,
          digest: none,
        }));
      }
      const rowTags = ownTags.length > 0 ? ownTags : [none];
      const rowHashes = ownHashes.length > 0 ? ownHashes : [none];
      return rowTags.flatMap((tag) => rowHashes.map((digest) => ({ image, repository, tag, digest })));
    });
  });
}

async function showTree(
  cli: Cli,
  filters: Filters,
  flags: { all: boolean; digests: boolean; noTrunc: boolean; quiet: boolean; format: string },
): Promise<void> {
  const clash = (['digests', 'noTrunc', 'quiet', 'format'] as const).find((name) => flags[name]);
  if (clash) throw new UsageError(`--${flagName(clash)} is not yet supported with --tree`);
  const { imageTree } = await import('../image-tree.ts');
  const images = await cli.client.json<ImageSummary[]>('GET', '/images/json', {
    query: { all: flags.all, filters: encodeFilters(filters), manifests: true },
  });
  const shown = flags.all ? images : images.filter(({ RepoTags }) => RepoTags?.length);
  cli.print(imageTree(shown, cli.columns));
}

/** `images`. */
export const command = defineCommand({
  usage: '[OPTIONS] [REPOSITORY[:TAG]]',
  summary: 'List images',
  args: { min: 0, max: 1 },
  flags: {
    all: toggle('Show all images (default hides intermediate images)', { short: 'a' }),
    digests: toggle('Show digests'),
    filter: filterFlag('Filter output based on conditions provided'),
    format: string(formatHelp),
    noTrunc: toggle("Don't truncate output"),
    quiet: toggle('Only show image IDs', { short: 'q' }),
    tree: toggle('List multi-platform images as a tree (EXPERIMENTAL)'),
  },
  async run({ cli, flags, args }) {
    const filters = args[0] === undefined ? flags.filter : withFilter(flags.filter, 'reference', args[0]);
    if (flags.tree) return showTree(cli, filters, flags);
    const images = await cli.client.json<ImageSummary[]>('GET', '/images/json', {
      query: { all: flags.all, filters: encodeFilters(filters) },
    });
    const format = flags.format || (flags.quiet ? '' : (cli.config.format('images') ?? ''));
    const digests = flags.digests || /\.Digest\b/.test(format);
    printListing(cli, imageListing(!flags.noTrunc, flags.digests), imageRows(images, digests), {
      format,
      quiet: flags.quiet,
      idOf: ({ image }) => (flags.noTrunc ? image.Id : shortId(image.Id)),
    });
  },
});
