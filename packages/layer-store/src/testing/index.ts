export { TarBuilder, describeBlob, sha256 } from './tar-builder.ts';
