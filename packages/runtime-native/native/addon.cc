// Registers the groups of system calls. No logic here.
#include <cerrno>
#include <cstring>

#include <uv.h>

#include "addon.h"
#include "errors.h"

namespace tare {

std::string ErrnoName(int err) {
  const char* name = uv_err_name(-err);
  if (std::strncmp(name, "Unknown", 7) != 0) return name;
#ifdef __GLIBC__
  if (const char* known = strerrorname_np(err)) return known;
#endif
  return "E" + std::to_string(err);
}

Napi::Error ErrnoError(Napi::Env env, int err, const char* syscall, const std::string& path) {
  std::string code = ErrnoName(err);
  const char* text = uv_strerror(-err);
  if (std::strncmp(text, "Unknown", 7) == 0) text = std::strerror(err);
  // libuv's text for this one speaks of sockets
  if (err == EOPNOTSUPP) text = "operation not supported";
  std::string message = code + ": " + text + ", " + syscall;
  if (!path.empty()) message += " '" + path + "'";
  Napi::Error error = Napi::Error::New(env, message);
  Napi::Object object = error.Value();
  object.Set("errno", Napi::Number::New(env, -err));
  object.Set("code", Napi::String::New(env, code));
  object.Set("syscall", Napi::String::New(env, syscall));
  if (!path.empty()) object.Set("path", Napi::String::New(env, path));
  return error;
}

namespace {

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  InitBpf(env, exports);
  InitFileQueue(env, exports);
  InitFs(env, exports);
  InitHashThread(env, exports);
  InitMount(env, exports);
  InitNamespaces(env, exports);
  InitNetlink(env, exports);
  InitProcess(env, exports);
  InitSeccomp(env, exports);
  InitSocket(env, exports);
  InitTerminal(env, exports);
  InitWatch(env, exports);
  InitWholeFile(env, exports);
  return exports;
}

}  // namespace
}  // namespace tare

static Napi::Object InitAddon(Napi::Env env, Napi::Object exports) { return tare::Init(env, exports); }
NODE_API_MODULE(tare_native, InitAddon)
