export {
  DOCKER_HUB_HOST,
  RegistryClient,
  type RegistryClientOptions,
  type RepositoryOptions,
} from './client.ts';
export { Repository } from './repository.ts';
export type { OnTransfer, TransferEvent } from './progress.ts';
export { TransferMeter, type TransferMeterOptions, type TransferTotals } from './transfer-meter.ts';
export type { RegistryWarning } from './warnings.ts';
export type { SearchResult } from './search.ts';
export type { RetryOptions } from './retry.ts';
export { uploadJournal, type UploadJournal } from './upload-journal.ts';
export { RegistryError, type RegistryErrorCode, type RegistryErrorDetail } from './errors.ts';
export { anonymous, credentialsFor, type Credentials, type CredentialSource } from './auth/credentials.ts';
export { readCertificateDirectories, type RegistryTls } from './certificates.ts';
export { referrersTag } from './referrers.ts';
export { containersAuthCredentials, dockerConfigCredentials } from './auth/docker-config.ts';
export {
  credentialFromHelper,
  eraseFromHelper,
  listHelper,
  storeInHelper,
  type HelperOptions,
} from './auth/credential-helper.ts';
export { parseChallenges, type Challenge } from './auth/challenge.ts';
