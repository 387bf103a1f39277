/** What is wrong with a Dockerfile, and where. */

/** A place in the file. */
export interface Place {
  /** First line, from 1. */
  line: number;
  /** The text of the instruction as written, for messages. */
  source: string;
}

/** An error of the Dockerfile's author. The message names the line. */
export class DockerfileError extends Error {
  readonly place: Place | undefined;

  constructor(
    message: string,
    place: Place | undefined,
    { what = 'dockerfile parse error on ', ...options }: { what?: string; cause?: unknown } = {},
  ) {
    super(place === undefined ? message : `${what}line ${place.line}: ${message}`, options);
    this.place = place;
  }
}
Object.defineProperty(DockerfileError.prototype, 'name', { value: 'DockerfileError', writable: true });

/** An instruction that is well written and cannot be followed: its image, file or user is not there. */
export class StepError extends DockerfileError {
  constructor(message: string, place: Place, options?: { cause?: unknown }) {
    super(message, place, { ...options, what: '' });
  }
}
