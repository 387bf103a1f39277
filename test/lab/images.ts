/** Real images for tests, made from files and written to any content sink. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { parseDigest, type Descriptor } from '@tare/image-spec';
import type { ContentSink, Tagger } from '@tare/image-spec/content';
import { pack } from 'tar-stream';

/** A file of a layer. `content` of a directory or link is left out. */
export interface LayerEntry {
  path: string;
  content?: string | Buffer;
  /** Default 0o644; directories 0o755. */
  mode?: number;
  type?: 'file' | 'directory' | 'symlink' | 'link' | 'fifo';
  linkname?: string;
  uid?: number;
  gid?: number;
}

export interface ImageSource {
  layers: LayerEntry[][];
  /** The `config` of the image config: Cmd, Env, Entrypoint, … */
  config?: Record<string, unknown>;
  /** Default: this machine's. */
  architecture?: string;
}

/** Pushes an image and tags it; returns the manifest's descriptor. */
export async function pushImage(
  sink: ContentSink & Tagger,
  tag: string,
  image: ImageSource,
): Promise<Descriptor> {
  const tars = await Promise.all(image.layers.map(packLayer));
  const layers = await Promise.all(
    tars.map((tar) =>
      push(sink, 'application/vnd.docker.image.rootfs.diff.tar.gzip', gzipSync(tar, { level: 1 })),
    ),
  );
  const config = await push(
    sink,
    'application/vnd.docker.container.image.v1+json',
    json({
      architecture: image.architecture ?? OWN_ARCHITECTURE,
      os: 'linux',
      created: '2026-01-01T00:00:00Z',
      config: image.config ?? {},
      rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
      history: image.layers.map((_, index) => ({
        created: '2026-01-01T00:00:00Z',
        created_by: `layer ${index}`,
      })),
    }),
  );
  const mediaType = 'application/vnd.docker.distribution.manifest.v2+json';
  const manifest = await push(sink, mediaType, json({ schemaVersion: 2, mediaType, config, layers }));
  await sink.tag(manifest, tag);
  return manifest;
}

const OWN_ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'amd64';

/** Pushes one image for each architecture under one tag; returns the index's descriptor. */
export async function pushIndex(
  sink: ContentSink & Tagger,
  tag: string,
  images: readonly ImageSource[],
): Promise<Descriptor> {
  const manifests = [];
  for (const image of images) {
    const { architecture = OWN_ARCHITECTURE } = image;
    const manifest = await pushImage(sink, `${tag}-${architecture}`, image);
    manifests.push({ ...manifest, platform: { os: 'linux', architecture } });
  }
  const mediaType = 'application/vnd.docker.distribution.manifest.list.v2+json';
  const index = await push(sink, mediaType, json({ schemaVersion: 2, mediaType, manifests }));
  await sink.tag(index, tag);
  return index;
}

/** The files of a busybox system: the program, its applets as links, the usual folders, /etc/passwd and /etc/group. */
export async function busyboxLayer(busybox: string): Promise<LayerEntry[]> {
  const applets = ['sh', 'ash', 'cat', 'echo', 'ls', 'ps', 'sleep', 'true', 'false', 'id', 'hostname', 'mount', 'grep', 'head', 'seq', 'wc',
    'nc', 'wget', 'httpd', 'touch', 'rm', 'mkdir', 'kill', 'env', 'pwd', 'dd', 'tty', 'stty', 'ip', 'ping', 'date', 'test', 'chmod', 'chown',
    'stat', 'sort', 'tr', 'yes', 'tail', 'top', 'uname', 'nslookup', 'traceroute', 'find', 'cut', 'awk', 'sed', 'dmesg', 'mknod', 'umount', 'df', 'free', 'nproc', 'printf', 'readlink', 'ln', 'cp', 'mv', 'usleep', 'timeout', 'su', 'telnet', 'md5sum', 'sha256sum']; // prettier-ignore
  return [
    ...['bin', 'dev', 'etc', 'home', 'proc', 'root', 'sys', 'usr', 'usr/bin', 'var'].map((path) => ({
      path,
      type: 'directory' as const,
    })),
    { path: 'tmp', type: 'directory', mode: 0o1777 },
    { path: 'bin/busybox', content: await readFile(busybox), mode: 0o755 },
    ...applets.map((name) => ({
      path: `bin/${name}`,
      type: 'link' as const,
      linkname: 'bin/busybox',
      mode: 0o755,
    })),
    {
      path: 'etc/passwd',
      content:
        'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\nworker:x:1000:1000::/home:/bin/sh\n',
    },
    { path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\nworker:x:1000:\nextra:x:2000:worker\n' },
  ];
}

async function packLayer(entries: LayerEntry[]): Promise<Buffer> {
  const tar = pack();
  for (const { path, content, type = 'file', linkname, mode, uid = 0, gid = 0 } of entries) {
    const header = {
      name: path,
      type,
      linkname,
      uid,
      gid,
      mode: mode ?? (type === 'directory' ? 0o755 : 0o644),
      mtime: new Date(0),
    };
    tar.entry(header, content ?? '');
  }
  tar.finalize();
  return Buffer.concat(await Array.fromAsync(tar as AsyncIterable<Buffer>));
}

async function push(sink: ContentSink, mediaType: string, bytes: Buffer): Promise<Descriptor> {
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  await sink.push(descriptor, (async function* () { yield bytes; })()); // prettier-ignore
  return descriptor;
}

function digestOf(bytes: Buffer) {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
