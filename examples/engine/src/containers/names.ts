/** Container names and ids: their grammar, how new ones are made, and how a client's text finds one. */
import { randomBytes, randomInt } from 'node:crypto';

import { invalid, notFound } from '../errors.ts';

const NAME = /^\/?[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/**
 * The name without its optional leading slash.
 *
 * @throws {EngineError} `INVALID` when it is not a name, in dockerd's words
 */
export function parseName(name: string): string {
  if (!NAME.test(name)) {
    throw invalid(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  }
  return name.startsWith('/') ? name.slice(1) : name;
}

const SHORT_ID_LENGTH = 12;

/** The 12-digit form of an id. */
export function shortId(id: string): string {
  return id.slice(0, SHORT_ID_LENGTH);
}

/** A new id: 64 hex digits, whose short form is never all decimal, lest it be taken for a number. */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex');
    if (/[a-f]/.test(shortId(id))) return id;
  }
}

const ADJECTIVES =
  'agile amber ample brave bright brisk calm candid civil clear clever cosmic crisp daring deft eager earnest easy ' +
  'fair fleet fond frank fresh gentle glad golden good grand handy happy hardy honest humble jolly keen kind lively ' +
  'loyal lucid lucky mellow merry mild modest neat nimble noble patient placid plain polite prime proud quick quiet ' +
  'ready rustic serene sharp silent simple sleek smart snug solid sound spry stable steady still stoic subtle sunny ' +
  'sure swift tender tidy trim true upbeat valid vivid warm wise witty zesty';
const NOUNS =
  'abel ampere archimedes babbage banach bell bernoulli bohr boole born cantor carson cauchy cerf chandrasekhar ' +
  'clarke conway copernicus curie dalton darwin descartes dijkstra dirac edison einstein engelbart euclid euler ' +
  'faraday fermat fermi feynman fourier franklin galileo galois gauss germain goedel goodall hamilton heisenberg ' +
  'hertz hilbert hopper hypatia jacobi johnson joule kelvin kepler knuth kovalevskaya lagrange lamarr laplace ' +
  'leavitt leibniz liskov lovelace mccarthy mendel maxwell meitner neumann newton noether ohm pascal pasteur payne ' +
  'perlman planck poincare ptolemy raman ramanujan riemann ritchie rubin rutherford sagan shannon sinoussi tarski ' +
  'tesla thompson torvalds turing volta wiles wilson wing yalow';

const adjectives = ADJECTIVES.split(' ');
const nouns = NOUNS.split(' ');

/** Tries of a random name before the short id is taken instead. */
const NAME_TRIES = 6;

/**
 * A free random name such as `calm_turing`; a digit follows from the second try on.
 *
 * @param taken - whether a name is in use
 * @param fallback - the name when luck runs out: the container's short id
 */
export function randomName(taken: (name: string) => boolean, fallback: string): string {
  for (let attempt = 0; attempt < NAME_TRIES; attempt += 1) {
    const digit = attempt === 0 ? '' : String(randomInt(10));
    const name = `${adjectives[randomInt(adjectives.length)]}_${nouns[randomInt(nouns.length)]}${digit}`;
    if (!taken(name)) return name;
  }
  return fallback;
}

/**
 * Finds one item by what a client typed: the full id, else the exact name, else a unique prefix of the id.
 *
 * @param kind - for the message: `container`, …
 * @throws {EngineError} `NOT_FOUND`, or `INVALID` for a prefix that fits several
 */
export function lookup<T extends { id: string; name: string }>(
  items: ReadonlyMap<string, T>,
  text: string,
  kind = 'container',
): T {
  if (text === '') throw invalid(`${kind} name or ID must not be empty`);
  const exact = items.get(text);
  if (exact) return exact;
  const name = text.startsWith('/') ? text.slice(1) : text;
  let found: T | undefined;
  let several = false;
  for (const item of items.values()) {
    if (item.name === name) return item;
    if (item.id.startsWith(text)) {
      several = found !== undefined;
      found = item;
    }
  }
  if (several) throw invalid(`multiple IDs found with provided prefix: ${text}`);
  if (!found) throw notFound(`No such ${kind}: ${text}`);
  return found;
}
