// Makes a file with all that is known of it, on whichever thread.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include <napi.h>

#include "errors.h"

namespace tare {

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
