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

  constructor(message: string, place: Place | undefined, options?: { cause?: unknown }) {
    super(
      place === undefined ? message : `dockerfile parse error on line ${place.line}: ${message}`,
      options,
    );
    this.place = place;
  }
}
Object.defineProperty(DockerfileError.prototype, 'name', { value: 'DockerfileError', writable: true });
