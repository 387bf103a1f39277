/** `--platform` where the API takes it as JSON. */
import { parsePlatform } from '@tare/image-spec';
import { UsageError, messageOf } from '../errors.ts';

/**
 * `linux/arm64/v8` as the API has it; undefined for an empty text.
 *
 * @throws {UsageError} for what is no platform
 */
export function platformJson(text: string): string | undefined {
  if (text === '') return undefined;
  try {
    return JSON.stringify(parsePlatform(text));
  } catch (cause) {
    throw new UsageError(`invalid platform: ${messageOf(cause)}`, { cause });
  }
}
