/** What drivers refuse, in dockerd's words. */
import { EngineError, messageOf } from '../errors.ts';

/** A driver's error in dockerd's words. */
export function networkError(error: unknown, endpoint = 'endpoint'): EngineError {
  if (error instanceof EngineError) return error;
  const { code, ip, port } = error as { code?: unknown; ip?: unknown; port?: unknown };
  const options = { cause: error };
  switch (code) {
    case 'PORT_IN_USE':
      return new EngineError(
        'SYSTEM',
        `failed to set up container networking: driver failed programming external connectivity on ${endpoint}: ` +
          `Bind for ${String(ip ?? '0.0.0.0')}:${String(port)} failed: port is already allocated`,
        options,
      );
    case 'ADDRESS_OVERLAP':
      return new EngineError(
        'FORBIDDEN',
        'invalid pool request: Pool overlaps with other one on this address space',
        options,
      );
    case 'POOL_EXHAUSTED':
      return new EngineError('FORBIDDEN', 'all predefined address pools have been fully subnetted', options);
    case 'NO_FREE_ADDRESS':
      return new EngineError('FORBIDDEN', 'no available IPv4 addresses on this network', options);
    case 'ADDRESS_IN_USE':
      return new EngineError('FORBIDDEN', 'Address already in use', options);
    case 'INVALID_CONFIG':
    case 'UNSUPPORTED':
      return new EngineError('INVALID', messageOf(error), options);
    case 'ALREADY_EXISTS':
      return new EngineError('CONFLICT', messageOf(error), options);
    default:
      return new EngineError('SYSTEM', `failed to set up container networking: ${messageOf(error)}`, options);
  }
}
