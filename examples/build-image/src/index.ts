export { buildAndPush, openImageBuilder, type BuildOptions, type ImageBuilder } from './build-image.ts';
