export type { NamedImage } from './image-archive.ts';
export { openImageLayout, ImageLayoutDirectory, type ImageLayoutOptions } from './image-layout.ts';
export { readImageArchive, type ArchiveStore, type ReadArchiveOptions } from './read-image-archive.ts';
export { writeImageArchive, type WriteArchiveOptions } from './write-image-archive.ts';
export { tarMembers, type TarMember } from '../tar/members.ts';
export { flattenLayers, type OpenLayer } from './flatten.ts';
