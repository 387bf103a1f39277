export type {
  ContentInfo,
  ContentOptions,
  ContentSink,
  ContentSource,
  ContentStore,
  Resolver,
  Tagger,
} from './content.ts';
