/** What a registry refused, in the words that dockerd has for it. */
import { ContainerError, familiarName, familiarReference, type Reference } from '@tare/image-spec';
import { EngineError, forbidden, notFound, systemError, unauthorized } from '../errors.ts';

/** The fields of a registry's error that are used here: those of `RegistryError`, by shape. */
interface RegistryFailure extends ContainerError {
  errors: readonly { code: string; message: string }[];
}

const isRegistryFailure = (error: unknown): error is RegistryFailure =>
  ContainerError.is(error) && Array.isArray((error as Partial<RegistryFailure>).errors);

/** The words of a registry, as its clients have always been shown them: `denied: not yours`. */
function refusal({ errors: [detail] }: RegistryFailure): string | undefined {
  return detail && `${detail.code.toLowerCase().replaceAll('_', ' ')}: ${detail.message}`;
}

/** The error of a pull of `reference`. What did not come from a registry is returned as it is. */
export function pullError(error: unknown, reference: Reference): unknown {
  if (error instanceof EngineError || !isRegistryFailure(error)) return error;
  const options = { cause: error };
  const [detail] = error.errors;
  const why = refusal(error);
  switch (error.code) {
    case 'UNAUTHORIZED':
    case 'DENIED':
      return notFound(
        `pull access denied for ${familiarName(reference)}, repository does not exist or may require ` +
          `'docker login': ${why ?? 'denied: requested access to the resource is denied'}`,
        options,
      );
    case 'NOT_FOUND':
      return detail?.code === 'NAME_UNKNOWN'
        ? notFound(`repository ${familiarName(reference)} not found: ${why}`, options)
        : notFound(
            `manifest for ${familiarReference(reference)} not found: ${why ?? 'manifest unknown: manifest unknown'}`,
            options,
          );
    default:
      return systemError(error.message, options);
  }
}

/** The error of a push. What did not come from a registry is returned as it is. */
export function pushError(error: unknown): unknown {
  if (error instanceof EngineError || !isRegistryFailure(error)) return error;
  const options = { cause: error };
  switch (error.code) {
    case 'UNAUTHORIZED':
      return unauthorized(refusal(error) ?? 'unauthorized: authentication required', options);
    case 'DENIED':
      return forbidden(refusal(error) ?? 'denied: requested access to the resource is denied', options);
    default:
      return systemError(error.message, options);
  }
}

/** The error of looking something up at a registry. */
export function lookUpError(error: unknown): unknown {
  if (error instanceof EngineError || !isRegistryFailure(error)) return error;
  return error.code === 'NOT_FOUND'
    ? notFound(refusal(error) ?? error.message, { cause: error })
    : pushError(error);
}

/** The error of a login. */
export function loginError(error: unknown): unknown {
  if (!isRegistryFailure(error)) return error;
  return error.code === 'UNAUTHORIZED' || error.code === 'DENIED'
    ? unauthorized(error.message, { cause: error })
    : systemError(error.message, { cause: error });
}
