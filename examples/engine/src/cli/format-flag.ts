/** Wording of `--format`, the same for every listing. */

export const formatHelp =
  "Format output using a custom template: 'table' (default), 'table TEMPLATE', 'json', or a Go template";

export const objectFormatHelp = "Format output using a custom template: 'json' or a Go template";
