export { FileContent, openFileContent } from './content/file-content.ts';
export { LayerStoreError, type LayerStoreErrorCode } from './errors.ts';
export { RESOLVE, type LayerFs } from './fs.ts';
