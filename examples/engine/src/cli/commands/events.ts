import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import { CliError, messageOf } from '../errors.ts';
import { filterFlag } from '../filter-flag.ts';
import { string } from '../flags.ts';
import { objectFormatHelp } from '../format-flag.ts';
import { compileTemplate } from '../format/go-template.ts';
import { parseJson, stringifyJson } from '../format/json-text.ts';
import { parseMoment } from '../values/duration.ts';

interface EventMessage {
  Type: string;
  Action: string;
  Actor: { ID: string; Attributes: Record<string, string> | null };
  time?: number;
  timeNano?: number | bigint;
}

/** `2026-11-23T20:57:21.293129247Z container start <id> (image=busybox, name=d1)`. */
function line({ Type, Action, Actor, time = 0, timeNano }: EventMessage): string {
  const nanos = timeNano === undefined ? BigInt(time) * 1_000_000_000n : BigInt(timeNano);
  const attributes = Object.entries(Actor.Attributes ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`);
  const suffix = attributes.length > 0 ? ` (${attributes.join(', ')})` : '';
  return `${localTime(nanos)} ${Type} ${Action} ${Actor.ID}${suffix}`;
}

/** RFC 3339 with nine digits, in the user's time zone. */
function localTime(nanos: bigint): string {
  const date = new Date(Number(nanos / 1_000_000n));
  const offset = -date.getTimezoneOffset();
  const shifted = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const fraction = String(nanos % 1_000_000_000n).padStart(9, '0');
  const two = (number: number): string => String(Math.trunc(number)).padStart(2, '0');
  const zone =
    offset === 0
      ? 'Z'
      : `${offset < 0 ? '-' : '+'}${two(Math.abs(offset) / 60)}:${two(Math.abs(offset) % 60)}`;
  return `${shifted}.${fraction}${zone}`;
}

export const command = defineCommand({
  usage: '[OPTIONS]',
  summary: 'Get real time events from the server',
  args: { min: 0 },
  flags: {
    filter: filterFlag('Filter output based on conditions provided'),
    format: string(objectFormatHelp),
    since: string('Show all events created since timestamp'),
    until: string('Stream events until this timestamp'),
  },
  async run({ cli, flags }) {
    const render = renderer(flags.format);
    const now = Date.now();
    const response = await cli.client.call('GET', '/events', {
      query: {
        filters: encodeFilters(flags.filter),
        since: flags.since && parseMoment(flags.since, now),
        until: flags.until && parseMoment(flags.until, now),
      },
    });
    response.setEncoding('utf8');
    let rest = '';
    for await (const chunk of response) {
      const lines = (rest + (chunk as string)).split('\n');
      rest = lines.pop()!;
      for (const text of lines)
        if (text.trim() !== '') cli.print(render(parseJson(text) as unknown as EventMessage));
    }
  },
});

function renderer(format: string): (message: EventMessage) => string {
  if (format === '') return line;
  if (format === 'json') return stringifyJson;
  try {
    const template = compileTemplate(format);
    return (message) => template.execute(message);
  } catch (cause) {
    throw new CliError(`Error parsing format: ${messageOf(cause)}`, { exitCode: 64, cause });
  }
}
