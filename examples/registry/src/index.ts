export { startRegistry, type RunningRegistry, type RegistryOptions } from './registry.ts';
