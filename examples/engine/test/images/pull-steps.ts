/** What a pull tells of a layer that is new, one step after the other. */
export const NEW_LAYER = [
  'Pulling fs layer',
  'Downloading',
  'Verifying Checksum',
  'Download complete',
  'Extracting',
  'Pull complete',
];
