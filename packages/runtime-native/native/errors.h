// Turns errno into a JavaScript Error shaped like those of node:fs: code, errno (negative), syscall and path.
#pragma once

#include <napi.h>
#include <string>

namespace tare {

/// The symbolic name of an errno value, for example "ENOENT".
std::string ErrnoName(int err);

/// Makes the Error; throw it. `path` is left out of the message and the object when empty.
Napi::Error ErrnoError(Napi::Env env, int err, const char* syscall, const std::string& path = "");

/// A failed system call on a thread that must not touch JavaScript; converted with Throw() on the JavaScript thread.
struct Failure {
  int err = 0;
  const char* syscall = nullptr;
  std::string path;

  explicit operator bool() const { return err != 0; }
  Napi::Error ToError(Napi::Env env) const { return ErrnoError(env, err, syscall, path); }
};

}  // namespace tare
