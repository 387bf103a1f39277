// Files read and made in one call each. Layers are thousands of small ones, and what the single calls cost between
// JavaScript and the kernel is more than what the kernel does.
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon.h"
#include "args.h"
#include "errors.h"
#include "times.h"
#include "whole_file.h"

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

int Open(int dirfd, const std::string& name, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {};
  how.flags = flags | O_CLOEXEC;
  how.mode = mode;
  how.resolve = resolve;
  long fd;
  do {
    fd = syscall(SYS_openat2, dirfd, name.c_str(), &how, sizeof how);
  } while (fd < 0 && errno == EINTR);
  return static_cast<int>(fd);
}

// Whether a file has no extended attributes but the label of this machine.
bool IsPlain(int fd) {
  char names[64];
  ssize_t size = flistxattr(fd, names, sizeof names);
  if (size < 0) return errno == ENOTSUP;
  return size == 0 || (strcmp(names, "security.selinux") == 0 && static_cast<size_t>(size) == strlen(names) + 1);
}

// Reads all of it, zeros for what is missing by now.
bool ReadAll(int fd, uint8_t* into, size_t size) {
  size_t at = 0;
  while (at < size) {
    ssize_t got = pread(fd, into + at, size - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) break;
    at += static_cast<size_t>(got);
  }
  memset(into + at, 0, size - at);
  return true;
}

// readPlainFile(dirfd, name, resolve, into, facts): whether it was one; facts are mode, uid, gid, size and the parts of
// mtime. Whatever stands in the way, the caller goes the long way and hears of it there.
Value ReadPlainFile(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  Bytes into = ByteArray(info, 3, "into");
  if (!info[4].IsTypedArray() || info[4].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array ||
      info[4].As<Napi::TypedArray>().ElementLength() < 6) {
    throw ArgumentError(info.Env(), "facts", "a Float64Array of 6");
  }
  Napi::Boolean no = Napi::Boolean::New(info.Env(), false);
  // only looked at until it is known to be a file: opening devices and pipes has effects
  Descriptor pinned(Open(Fd(info, 0, "dirfd"), name, O_PATH | O_NOFOLLOW, 0,
                         static_cast<uint64_t>(Integer(info, 2, "resolve"))));
  struct stat stat;
  if (pinned.get() < 0 || fstat(pinned.get(), &stat) != 0) return no;
  if (!S_ISREG(stat.st_mode) || stat.st_nlink != 1 || static_cast<uint64_t>(stat.st_size) > into.size) return no;
  std::string path = "/proc/self/fd/" + std::to_string(pinned.get());
  Descriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0 || !IsPlain(file.get())) return no;
  if (!ReadAll(file.get(), const_cast<uint8_t*>(into.data), static_cast<size_t>(stat.st_size))) return no;
  double* facts = info[4].As<Napi::Float64Array>().Data();
  facts[0] = stat.st_mode;
  facts[1] = stat.st_uid;
  facts[2] = stat.st_gid;
  facts[3] = static_cast<double>(stat.st_size);
  facts[4] = static_cast<double>(stat.st_mtim.tv_sec);
  facts[5] = static_cast<double>(stat.st_mtim.tv_nsec);
  return Napi::Boolean::New(info.Env(), true);
}

// createFile(dirfd, name, content, mode, uid, gid, atimeNs, mtimeNs): never in place of something.
void CreateFile(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  Bytes content = ByteArray(info, 2, "content");
  Failure failure = MakeFile(Fd(info, 0, "dirfd"), name, content.data, content.size, AttributesAt(info, 3));
  if (failure) throw failure.ToError(info.Env());
}

}  // namespace

FileAttributes AttributesAt(const CallbackInfo& info, size_t index) {
  const int64_t uid = Integer(info, index + 1, "uid");
  FileAttributes attributes = {};
  attributes.mode = Uint(info, index, "mode");
  attributes.given = uid >= 0;
  attributes.uid = attributes.given ? static_cast<uid_t>(uid) : geteuid();
  attributes.gid = attributes.given ? Uint(info, index + 2, "gid") : getegid();
  attributes.times[0] = TimeSpec(Big(info, index + 3, "atimeNs"));
  attributes.times[1] = TimeSpec(Big(info, index + 4, "mtimeNs"));
  return attributes;
}

Failure MakeFile(int dirfd, const std::string& name, const uint8_t* content, size_t size,
                 const FileAttributes& attributes) {
  const auto& [mode, given, uid, gid, times] = attributes;
  auto failed = [&](const char* syscall) { return Failure{errno, syscall, name}; };
  // whoever gets it later, or more by it than its bits say, gets it when it is whole
  bool later = uid != geteuid() || gid != getegid() || (mode & 07000) != 0;
  uint32_t first = later ? 0600 : mode;
  Descriptor file(Open(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, first,
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS));
  if (file.get() < 0) return failed("openat2");
  struct stat made;
  if (fstat(file.get(), &made) != 0) return failed("fstat");
  for (size_t at = 0; at < size;) {
    ssize_t written = write(file.get(), content + at, size - at);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return failed("write");
    at += static_cast<size_t>(written);
  }
  // the order matters: chown clears setuid
  bool give = given && (made.st_uid != uid || made.st_gid != gid);
  if (give && fchown(file.get(), uid, gid) != 0) return failed("fchown");
  // the umask, or a default ACL, may have had its say
  if ((give || (made.st_mode & 07777) != mode) && fchmod(file.get(), mode) != 0) return failed("fchmod");
  if (futimens(file.get(), times) != 0) return failed("futimens");
  return {};
}

void InitWholeFile(Napi::Env env, Napi::Object exports) {
  exports.Set("readPlainFile", Napi::Function::New<ReadPlainFile>(env));
  exports.Set("createFile", Napi::Function::New<CreateFile>(env));
}

}  // namespace tare
