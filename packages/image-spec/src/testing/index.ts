export { contentStoreSuite, type ContentStoreFactory, type TestFramework } from './content-suite.ts';
