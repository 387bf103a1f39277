export {
  answer,
  startTestRegistry,
  type Fault,
  type RecordedRequest,
  type ServeOptions,
  type TestRegistry,
  type TestRegistryOptions,
} from './registry.ts';
export { startTokenServer, type TokenServer, type TokenServerOptions } from './token-server.ts';
