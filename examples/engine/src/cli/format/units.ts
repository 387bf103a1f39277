/** Sizes, durations and ages as Docker's command line words them. */

const decimalUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB', 'ZB', 'YB'];
const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB', 'ZiB', 'YiB'];

function scale(bytes: number, base: number, units: readonly string[], digits: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return `${significant(value, digits)}${units[unit]}`;
}

/** C's `%.{digits}g` for the magnitudes met here: trailing zeros are dropped, large values switch to an exponent. */
function significant(value: number, digits: number): string {
  if (value === 0) return '0';
  const [mantissa, exponent] = value.toExponential(digits - 1).split('e') as [string, string];
  const power = Number(exponent);
  if (power < -4 || power >= digits) {
    const sign = power < 0 ? '-' : '+';
    return `${dropZeros(mantissa)}e${sign}${String(Math.abs(power)).padStart(2, '0')}`;
  }
  return dropZeros(value.toFixed(digits - 1 - power));
}

function dropZeros(number: string): string {
  return number.includes('.') ? number.replace(/\.?0+$/, '') : number;
}

/** Bytes in powers of 1000 with `digits` significant digits: `683kB`, `4.15MB`. Docker shows images with 3, sizes with 4. */
export function decimalSize(bytes: number, digits = 4): string {
  return scale(bytes, 1000, decimalUnits, digits);
}

/** Bytes in powers of 1024: `23.54GiB`. */
export function binarySize(bytes: number): string {
  return scale(bytes, 1024, binaryUnits, 4);
}

/** A span of seconds in words, coarse on purpose: `Less than a second`, `About an hour`, `3 weeks`. */
export function humanDuration(seconds: number): string {
  const whole = Math.trunc(seconds);
  if (whole < 1) return 'Less than a second';
  if (whole === 1) return '1 second';
  if (whole < 60) return `${whole} seconds`;
  const minutes = Math.trunc(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.round(seconds / 3600);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(seconds / 3600 / 24 / 365)} years`;
}

/** How long ago `unixSeconds` was: `12 minutes ago`. */
export function ago(unixSeconds: number, nowMs: number): string {
  return `${humanDuration(nowMs / 1000 - unixSeconds)} ago`;
}

/**
 * Cuts `text` to `columns`, ending in an ellipsis when something was cut. East Asian wide characters count as two
 * columns, as they do on a terminal.
 */
export function ellipsis(text: string, columns: number): string {
  let width = 0;
  let kept = '';
  for (const char of text) {
    width += isWide(char.codePointAt(0)!) ? 2 : 1;
    if (width < columns) kept += char;
    if (width > columns) return columns <= 1 ? text.slice(0, columns) : `${kept}…`;
  }
  return text;
}

/** Unicode's East Asian Wide and Fullwidth blocks, coarsely. */
function isWide(code: number): boolean {
  return (
    code >= 0x1100 &&
    (code <= 0x115f ||
      (code >= 0x2e80 && code <= 0xa4cf && code !== 0x303f) ||
      (code >= 0xac00 && code <= 0xd7a3) ||
      (code >= 0xf900 && code <= 0xfaff) ||
      (code >= 0xfe30 && code <= 0xfe6f) ||
      (code >= 0xff00 && code <= 0xff60) ||
      (code >= 0xffe0 && code <= 0xffe6) ||
      (code >= 0x1f300 && code <= 0x1f64f) ||
      (code >= 0x1f900 && code <= 0x1f9ff) ||
      (code >= 0x20000 && code <= 0x3fffd))
  );
}

/** The first 12 characters of an identifier, without its `sha256:`. */
export function shortId(id: string): string {
  const bare = id.startsWith('sha256:') ? id.slice('sha256:'.length) : id;
  return bare.slice(0, 12);
}
