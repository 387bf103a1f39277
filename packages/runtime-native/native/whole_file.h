// Reads and makes files with all that is known of them, on whichever thread.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include <napi.h>

#include "errors.h"

namespace tare {

/// What is known of a file that was read: the file has no more to it.
struct PlainFacts {
  uint32_t mode;
  uid_t uid;
  gid_t gid;
  size_t size;
  struct timespec mtime;
};

/// Reads a regular file with one name and no extended attributes into the first of `size` bytes, zeros for what is missing
/// by now. False for anything else, and for whatever stands in the way: the caller goes the long way and hears of it there.
bool ReadPlain(int dirfd, const std::string& name, uint64_t resolve, uint8_t* into, size_t size, PlainFacts* facts);

/// Writes them to a Float64Array: mode, uid, gid, size and the parts of mtime.
void StoreFacts(const Napi::CallbackInfo& info, size_t index, const PlainFacts& facts);

/// What a file is made with.
struct FileAttributes {
  /// Permission bits.
  uint32_t mode;
  /// Whom it is given; false leaves it to who makes it.
  bool given;
  uid_t uid;
  gid_t gid;
  /// Of access and of modification.
  struct timespec times[2];
};

/// The attributes from five arguments on: mode, uid, gid, atimeNs, mtimeNs; a uid of -1 leaves the owner.
FileAttributes AttributesAt(const Napi::CallbackInfo& info, size_t index);

/// Makes `name` in `dirfd`, never in place of something (EEXIST), and follows no link on the way.
Failure MakeFile(int dirfd, const std::string& name, const uint8_t* content, size_t size,
                 const FileAttributes& attributes);

}  // namespace tare
