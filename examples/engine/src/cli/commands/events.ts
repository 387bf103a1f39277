/** `tare events`: prints what happens in the engine as it happens. */
import { defineCommand } from '../command.ts';
import { encodeFilters } from '../client.ts';
import { CliError, messageOf } from '../errors.ts';
import { filterFlag } from '../filter-flag.ts';
import { string } from '../flags.ts';
import { objectFormatHelp } from '../format-flag.ts';
import { compileTemplate } from '../format/go-template.ts';
import { jsonText, parseJson, stringifyJson } from '../format/json-text.ts';
import { parseMoment } from '../values/duration.ts';

interface EventMessage {
  status?: string;
  id?: string;
  from?: string;
  scope?: string;
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

/** `events`. */
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
    if (!flags.until) await cli.client.stillThere();
  },
});

function renderer(format: string): (message: EventMessage) => string {
  if (format === '') return line;
  if (format === 'json') return toJson;
  try {
    const template = compileTemplate(format, { typeName: '*events.Message', missingKey: 'zero' });
    // Tried on a blank message first: a faulty template should not wait for an event to be found out.
    template.execute(forTemplates({ Type: '', Action: '', Actor: { ID: '', Attributes: {} } }));
    return (message) => template.execute(forTemplates(message));
  } catch (cause) {
    throw new CliError(`Error parsing format: ${messageOf(cause)}`, { exitCode: 64, cause });
  }
}

/** The message as Go marshals it: attributes in order of their names. */
function toJson(message: EventMessage): string {
  const attributes = Object.entries(message.Actor.Attributes ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return stringifyJson({
    ...message,
    Actor: { ...message.Actor, Attributes: Object.fromEntries(attributes) },
  });
}

/** Templates name the fields as Go does, which for some of them is not what they are called in JSON. */
function forTemplates(message: EventMessage): Record<string, unknown> {
  const {
    Type,
    Action,
    Actor,
    status: Status,
    id: ID,
    from: From,
    scope: Scope,
    time: Time,
    timeNano: TimeNano,
  } = message;
  const fields = { Status, ID, From, Type, Action, Actor, Scope, Time, TimeNano };
  return Object.defineProperty(fields, jsonText, { value: () => toJson(message) });
}
