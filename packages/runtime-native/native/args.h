// Argument checks. JavaScript wrappers normalise; these only make sure that a wrong caller gets a TypeError in place of
// undefined behaviour.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tare {

/// A borrowed view of a Uint8Array; valid until the native call returns to JavaScript.
struct Bytes {
  const uint8_t* data;
  size_t size;
};

inline Napi::TypeError ArgumentError(Napi::Env env, const char* name, const char* expected) {
  return Napi::TypeError::New(env, std::string("argument '") + name + "' must be " + expected);
}

inline int64_t Integer(const Napi::CallbackInfo& info, size_t index, const char* name) {
  Napi::Value value = info[index];
  if (!value.IsNumber()) throw ArgumentError(info.Env(), name, "an integer");
  return value.As<Napi::Number>().Int64Value();
}

inline int Int(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return static_cast<int>(Integer(info, index, name));
}

inline uint32_t Uint(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return static_cast<uint32_t>(Integer(info, index, name));
}

/// A file descriptor, or AT_FDCWD.
inline int Fd(const Napi::CallbackInfo& info, size_t index, const char* name) {
  int64_t fd = Integer(info, index, name);
  if ((fd < 0 && fd != -100) || fd > INT32_MAX) throw ArgumentError(info.Env(), name, "a file descriptor");
  return static_cast<int>(fd);
}

inline bool Bool(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsBoolean()) throw ArgumentError(info.Env(), name, "a boolean");
  return info[index].As<Napi::Boolean>().Value();
}

inline Bytes AsBytes(Napi::Env env, Napi::Value value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw ArgumentError(env, name, "a Uint8Array");
  }
  auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ByteLength()};
}

inline Bytes ByteArray(const Napi::CallbackInfo& info, size_t index, const char* name) {
  return AsBytes(info.Env(), info[index], name);
}

/// A path or a name, as text or as raw bytes. The kernel stops at NUL, so a NUL inside is an error here.
inline std::string Path(const Napi::CallbackInfo& info, size_t index, const char* name) {
  Napi::Value value = info[index];
  std::string path;
  if (value.IsString()) {
    path = value.As<Napi::String>().Utf8Value();
  } else {
    Bytes bytes = AsBytes(info.Env(), value, name);
    path.assign(reinterpret_cast<const char*>(bytes.data), bytes.size);
  }
  if (path.find('\0') != std::string::npos) throw ArgumentError(info.Env(), name, "free of NUL bytes");
  return path;
}

/// Like Path, with undefined and null as "absent".
inline bool OptionalPath(const Napi::CallbackInfo& info, size_t index, const char* name, std::string* path) {
  if (info[index].IsUndefined() || info[index].IsNull()) return false;
  *path = Path(info, index, name);
  return true;
}

inline std::vector<int> Fds(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsArray()) throw ArgumentError(info.Env(), name, "an array of file descriptors");
  auto array = info[index].As<Napi::Array>();
  std::vector<int> fds(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    Napi::Value value = array.Get(i);
    if (!value.IsNumber() || value.As<Napi::Number>().Int32Value() < 0) {
      throw ArgumentError(info.Env(), name, "an array of file descriptors");
    }
    fds[i] = value.As<Napi::Number>().Int32Value();
  }
  return fds;
}

inline int64_t Big(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsBigInt()) throw ArgumentError(info.Env(), name, "a bigint");
  bool lossless = true;
  int64_t value = info[index].As<Napi::BigInt>().Int64Value(&lossless);
  if (!lossless) throw ArgumentError(info.Env(), name, "a bigint of at most 64 bits");
  return value;
}

}  // namespace tare
