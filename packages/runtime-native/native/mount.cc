// mount(2), umount2(2) and the file-descriptor mount calls.
#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "addon.h"
#include "args.h"
#include "errors.h"

// <sys/mount.h> and <linux/mount.h> cannot both be included with every C library
extern "C" int mount(const char*, const char*, const char*, unsigned long, const void*);
extern "C" int umount2(const char*, int);

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

Value Result(const CallbackInfo& info, long result, const char* syscall, const std::string& path = "") {
  if (result < 0) throw ErrnoError(info.Env(), errno, syscall, path);
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

// mount(source?, target, type?, flags, data?)
void Mount(const CallbackInfo& info) {
  std::string source, type, data;
  bool hasSource = OptionalPath(info, 0, "source", &source);
  std::string target = Path(info, 1, "target");
  bool hasType = OptionalPath(info, 2, "type", &type);
  auto flags = static_cast<unsigned long>(Integer(info, 3, "flags"));
  bool hasData = OptionalPath(info, 4, "data", &data);
  Result(info,
         mount(hasSource ? source.c_str() : nullptr, target.c_str(), hasType ? type.c_str() : nullptr, flags,
               hasData ? data.c_str() : nullptr),
         "mount", target);
}

void Umount(const CallbackInfo& info) {
  std::string target = Path(info, 0, "target");
  Result(info, umount2(target.c_str(), Int(info, 1, "flags")), "umount2", target);
}

Value OpenTree(const CallbackInfo& info) {
  std::string path = Path(info, 1, "path");
  return Result(info, syscall(SYS_open_tree, Fd(info, 0, "dirfd"), path.c_str(), Uint(info, 2, "flags")), "open_tree",
                path);
}

void MoveMount(const CallbackInfo& info) {
  std::string from = Path(info, 1, "fromPath");
  std::string to = Path(info, 3, "toPath");
  Result(info,
         syscall(SYS_move_mount, Fd(info, 0, "fromDirfd"), from.c_str(), Fd(info, 2, "toDirfd"), to.c_str(),
                 Uint(info, 4, "flags")),
         "move_mount", to);
}

Value Fsopen(const CallbackInfo& info) {
  std::string type = Path(info, 0, "type");
  return Result(info, syscall(SYS_fsopen, type.c_str(), FSOPEN_CLOEXEC), "fsopen", type);
}

// fsconfig(fd, key, value): a flag when the value is undefined
void Fsconfig(const CallbackInfo& info) {
  std::string key = Path(info, 1, "key");
  std::string value;
  bool hasValue = OptionalPath(info, 2, "value", &value);
  Result(info,
         syscall(SYS_fsconfig, Fd(info, 0, "fd"), hasValue ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key.c_str(),
                 hasValue ? value.c_str() : nullptr, 0),
         "fsconfig", key);
}

// Creates the super block of a configured context and returns a detached mount of it.
Value Fsmount(const CallbackInfo& info) {
  int context = Fd(info, 0, "fd");
  Result(info, syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), "fsconfig(create)");
  return Result(info, syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, Uint(info, 1, "attributes")), "fsmount");
}

void MountSetattr(const CallbackInfo& info) {
  std::string path = Path(info, 1, "path");
  struct mount_attr attributes = {};
  attributes.attr_set = static_cast<uint64_t>(Integer(info, 3, "set"));
  attributes.attr_clr = static_cast<uint64_t>(Integer(info, 4, "clear"));
  attributes.propagation = static_cast<uint64_t>(Integer(info, 5, "propagation"));
  if (info.Length() > 6) attributes.userns_fd = static_cast<uint64_t>(Fd(info, 6, "userNamespace"));
  Result(info,
         syscall(SYS_mount_setattr, Fd(info, 0, "dirfd"), path.c_str(), Uint(info, 2, "flags"), &attributes,
                 sizeof attributes),
         "mount_setattr", path);
}

}  // namespace

void InitMount(Napi::Env env, Napi::Object exports) {
  exports.Set("mount", Napi::Function::New<Mount>(env));
  exports.Set("umount", Napi::Function::New<Umount>(env));
  exports.Set("openTree", Napi::Function::New<OpenTree>(env));
  exports.Set("moveMount", Napi::Function::New<MoveMount>(env));
  exports.Set("fsopen", Napi::Function::New<Fsopen>(env));
  exports.Set("fsconfig", Napi::Function::New<Fsconfig>(env));
  exports.Set("fsmount", Napi::Function::New<Fsmount>(env));
  exports.Set("mountSetattr", Napi::Function::New<MountSetattr>(env));
}

}  // namespace tare
