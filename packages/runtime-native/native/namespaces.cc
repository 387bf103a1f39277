// Network namespaces, always on a thread made for the purpose: the threads of Node.js never change theirs.
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "addon.h"
#include "args.h"
#include "work.h"

namespace tare {

Failure InNetworkNamespace(int netns, const std::function<Failure()>& work) {
  if (netns < 0) return work();
  return OnFreshThread([&]() -> Failure {
    if (setns(netns, CLONE_NEWNET) < 0) return {errno, "setns", ""};
    return work();
  });
}

namespace {

using Napi::CallbackInfo;
using Napi::Value;

Failure MakeNamespace(const std::string& path) {
  int file = open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (file < 0) return {errno, "open", path};
  close(file);
  Failure failure = OnFreshThread([&]() -> Failure {
    if (unshare(CLONE_NEWNET) < 0) return {errno, "unshare", path};
    if (mount("/proc/thread-self/ns/net", path.c_str(), nullptr, MS_BIND, nullptr) < 0) return {errno, "mount", path};
    return {};
  });
  if (failure) unlink(path.c_str());
  return failure;
}

Value CreateNetworkNamespace(const CallbackInfo& info) {
  std::string path = Path(info, 0, "path");
  return PromiseWork::Run(info.Env(), "createNetworkNamespace", [path] { return MakeNamespace(path); });
}

// Both halves may already be done: by a crash between them, or by an earlier call.
Failure RemoveNamespace(const std::string& path) {
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT) {
    return {errno, "umount2", path};
  }
  if (unlink(path.c_str()) < 0 && errno != ENOENT) return {errno, "unlink", path};
  return {};
}

Value RemoveNetworkNamespace(const CallbackInfo& info) {
  std::string path = Path(info, 0, "path");
  return PromiseWork::Run(info.Env(), "removeNetworkNamespace", [path] { return RemoveNamespace(path); });
}

Value OpenNamespace(const CallbackInfo& info) {
  std::string path = Path(info, 0, "path");
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "open", path);
  struct statfs stat;
  // a leftover of the path without its mount is an ordinary empty file
  if (fstatfs(fd, &stat) < 0 || stat.f_type != NSFS_MAGIC) {
    close(fd);
    throw ErrnoError(info.Env(), EINVAL, "openNetworkNamespace", path);
  }
  return Napi::Number::New(info.Env(), fd);
}

struct Setting {
  std::string path;
  std::string value;
};

constexpr std::string_view kNetSettings = "/proc/sys/net/";

Failure WriteSetting(int netSettings, const Setting& setting) {
  std::string_view path = setting.path;
  bool below = netSettings >= 0 && path.substr(0, kNetSettings.size()) == kNetSettings;
  const char* name = setting.path.c_str() + (below ? kNetSettings.size() : 0);
  int fd = openat(below ? netSettings : AT_FDCWD, name, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return {errno, "open", setting.path};
  Failure failure;
  // one write: the kernel parses each write on its own
  if (write(fd, setting.value.data(), setting.value.size()) < 0) failure = {errno, "write", setting.path};
  close(fd);
  return failure;
}

// writeFilesIn(netns, [path, value, path, value, …], ignoreMissing)
Value WriteFilesIn(const CallbackInfo& info) {
  // an own descriptor: the caller may close its own before the work is done
  int netns = fcntl(Fd(info, 0, "netns"), F_DUPFD_CLOEXEC, 3);
  if (netns < 0) throw ErrnoError(info.Env(), errno, "fcntl");
  std::vector<Setting> settings;
  if (info[1].IsArray()) {
    auto list = info[1].As<Napi::Array>();
    for (uint32_t i = 0; i + 1 < list.Length(); i += 2) {
      settings.push_back({list.Get(i).ToString().Utf8Value(), list.Get(i + 1).ToString().Utf8Value()});
    }
  }
  bool ignoreMissing = Bool(info, 2, "ignoreMissing");
  return PromiseWork::Run(info.Env(), "writeFilesIn", [=]() -> Failure {
    Failure failure = InNetworkNamespace(netns, [&]() -> Failure {
      // this way leads past the settings of every other namespace, which have the same names: gone once, not each time
      int netSettings = open(kNetSettings.data(), O_PATH | O_DIRECTORY | O_CLOEXEC);
      Failure failed;
      for (const Setting& setting : settings) {
        failed = WriteSetting(netSettings, setting);
        if (failed && ignoreMissing && failed.err == ENOENT) failed = {};
        if (failed) break;
      }
      if (netSettings >= 0) close(netSettings);
      return failed;
    });
    close(netns);
    return failure;
  });
}

Value ReadFileIn(const CallbackInfo& info) {
  int netns = Int(info, 0, "netns");
  std::string path = Path(info, 1, "path");
  std::string content;
  Failure failure = InNetworkNamespace(netns, [&]() -> Failure {
    int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return {errno, "open", path};
    char buffer[4096];
    ssize_t size;
    while ((size = read(fd, buffer, sizeof buffer)) > 0) content.append(buffer, static_cast<size_t>(size));
    int err = errno;
    close(fd);
    if (size < 0) return {err, "read", path};
    return {};
  });
  if (failure) throw failure.ToError(info.Env());
  return Napi::String::New(info.Env(), content);
}

}  // namespace

void InitNamespaces(Napi::Env env, Napi::Object exports) {
  exports.Set("createNetworkNamespace", Napi::Function::New<CreateNetworkNamespace>(env));
  exports.Set("removeNetworkNamespace", Napi::Function::New<RemoveNetworkNamespace>(env));
  exports.Set("openNetworkNamespace", Napi::Function::New<OpenNamespace>(env));
  exports.Set("writeFilesIn", Napi::Function::New<WriteFilesIn>(env));
  exports.Set("readFileIn", Napi::Function::New<ReadFileIn>(env));
}

}  // namespace tare
