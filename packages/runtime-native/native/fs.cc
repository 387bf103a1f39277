// File-system calls that node:fs lacks: everything relative to a directory descriptor, and extended attributes.
// All synchronous: they run in worker threads, and each takes microseconds.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon.h"
#include "args.h"
#include "errors.h"
#include "times.h"

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

namespace tare {
namespace {

// XATTR_SIZE_MAX and XATTR_LIST_MAX of <linux/limits.h>
constexpr size_t kXattrSizeMax = 65536;

using Napi::CallbackInfo;
using Napi::Value;

void Check(const CallbackInfo& info, int result, const char* syscall, const std::string& path) {
  if (result < 0) throw ErrnoError(info.Env(), errno, syscall, path);
}

Value Openat2(const CallbackInfo& info) {
  int dirfd = Fd(info, 0, "dirfd");
  std::string path = Path(info, 1, "path");
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(Integer(info, 2, "flags")) | O_CLOEXEC;
  how.mode = (how.flags & (O_CREAT | O_TMPFILE)) != 0 ? Uint(info, 3, "mode") : 0;
  how.resolve = static_cast<uint64_t>(Integer(info, 4, "resolve"));
  long fd;
  // EAGAIN: a rename somewhere on the system raced with ".." in a scoped lookup; the kernel asks to try again
  int attempts = 64;
  do {
    fd = syscall(SYS_openat2, dirfd, path.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || (errno == EAGAIN && --attempts > 0)));
  Check(info, static_cast<int>(fd), "openat2", path);
  return Napi::Number::New(info.Env(), static_cast<double>(fd));
}

void Mkdirat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  Check(info, mkdirat(Fd(info, 0, "dirfd"), name.c_str(), Uint(info, 2, "mode")), "mkdirat", name);
}

void Mknodat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  dev_t device = makedev(Uint(info, 3, "major"), Uint(info, 4, "minor"));
  Check(info, mknodat(Fd(info, 0, "dirfd"), name.c_str(), Uint(info, 2, "mode"), device), "mknodat", name);
}

void Symlinkat(const CallbackInfo& info) {
  std::string target = Path(info, 0, "target");
  std::string name = Path(info, 2, "name");
  Check(info, symlinkat(target.c_str(), Fd(info, 1, "dirfd"), name.c_str()), "symlinkat", name);
}

void Linkat(const CallbackInfo& info) {
  std::string from = Path(info, 1, "fromName");
  std::string name = Path(info, 3, "name");
  Check(info, linkat(Fd(info, 0, "fromDirfd"), from.c_str(), Fd(info, 2, "dirfd"), name.c_str(), 0), "linkat", name);
}

void Unlinkat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  int flags = Bool(info, 2, "directory") ? AT_REMOVEDIR : 0;
  Check(info, unlinkat(Fd(info, 0, "dirfd"), name.c_str(), flags), "unlinkat", name);
}

void Renameat2(const CallbackInfo& info) {
  std::string from = Path(info, 1, "fromName");
  std::string name = Path(info, 3, "name");
  long result = syscall(SYS_renameat2, Fd(info, 0, "fromDirfd"), from.c_str(), Fd(info, 2, "dirfd"), name.c_str(),
                        Uint(info, 4, "flags"));
  Check(info, static_cast<int>(result), "renameat2", name);
}

void Fchownat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  Check(info,
        fchownat(Fd(info, 0, "dirfd"), name.c_str(), Uint(info, 2, "uid"), Uint(info, 3, "gid"), AT_SYMLINK_NOFOLLOW),
        "fchownat", name);
}

// fchmodat2(2) is in Linux 6.6; before it, an O_PATH descriptor pins the inode and procfs names it.
int ChmodNoFollow(int dirfd, const char* name, mode_t mode) {
  long result = syscall(SYS_fchmodat2, dirfd, name, mode, AT_SYMLINK_NOFOLLOW);
  if (result == 0 || errno != ENOSYS) return static_cast<int>(result);
  int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return -1;
  struct stat stat;
  int outcome = fstat(fd, &stat);
  if (outcome == 0 && S_ISLNK(stat.st_mode)) {
    errno = EOPNOTSUPP;
    outcome = -1;
  }
  if (outcome == 0) outcome = chmod(("/proc/self/fd/" + std::to_string(fd)).c_str(), mode);
  int saved = errno;
  close(fd);
  errno = saved;
  return outcome;
}

void Fchmodat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  Check(info, ChmodNoFollow(Fd(info, 0, "dirfd"), name.c_str(), Uint(info, 2, "mode")), "fchmodat2", name);
}

void Utimensat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  struct timespec times[2] = {TimeSpec(Big(info, 2, "atimeNs")), TimeSpec(Big(info, 3, "mtimeNs"))};
  Check(info, utimensat(Fd(info, 0, "dirfd"), name.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat", name);
}

// The *xattrat calls are in Linux 6.13; a path through the descriptor's procfs link says the same on every kernel.
std::string ThroughFd(int dirfd, const std::string& name) {
  if (dirfd == AT_FDCWD) return name;
  return "/proc/self/fd/" + std::to_string(dirfd) + "/" + name;
}

void Setxattrat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  std::string attribute = Path(info, 2, "attribute");
  Bytes value = ByteArray(info, 3, "value");
  std::string path = ThroughFd(Fd(info, 0, "dirfd"), name);
  Check(info, lsetxattr(path.c_str(), attribute.c_str(), value.data, value.size, 0), "lsetxattr", name);
}

Value Getxattrat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  std::string attribute = Path(info, 2, "attribute");
  std::string path = ThroughFd(Fd(info, 0, "dirfd"), name);
  // most values (file capabilities, overlay marks, labels) fit; the kernel's bound is 64 KiB
  std::vector<uint8_t> value(256);
  for (;;) {
    ssize_t size = lgetxattr(path.c_str(), attribute.c_str(), value.data(), value.size());
    if (size >= 0) return Napi::Buffer<uint8_t>::Copy(info.Env(), value.data(), static_cast<size_t>(size));
    if (errno == ENODATA) return info.Env().Undefined();
    if (errno != ERANGE || value.size() > kXattrSizeMax) throw ErrnoError(info.Env(), errno, "lgetxattr", name);
    value.resize(kXattrSizeMax + 1);
  }
}

Value Listxattrat(const CallbackInfo& info) {
  std::string name = Path(info, 1, "name");
  std::string path = ThroughFd(Fd(info, 0, "dirfd"), name);
  std::vector<char> names(1024);
  ssize_t size;
  while ((size = llistxattr(path.c_str(), names.data(), names.size())) < 0) {
    if (errno != ERANGE || names.size() > kXattrSizeMax) throw ErrnoError(info.Env(), errno, "llistxattr", name);
    names.resize(kXattrSizeMax + 1);
  }
  Napi::Array list = Napi::Array::New(info.Env());
  uint32_t count = 0;
  for (const char* at = names.data(); at < names.data() + size; at += strlen(at) + 1) {
    list.Set(count++, Napi::String::New(info.Env(), at));
  }
  return list;
}

void Syncfs(const CallbackInfo& info) { Check(info, syncfs(Fd(info, 0, "fd")), "syncfs", ""); }

// FS_TOPDIR_FL of ioctl_iflags(2). It is advice: false where the file system does not take it, or not from this user.
Value SpreadSubdirectories(const CallbackInfo& info) {
  const int fd = Fd(info, 0, "fd");
  int flags = 0;
  bool taken = ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
  if (taken && (flags & FS_TOPDIR_FL) == 0) {
    flags |= FS_TOPDIR_FL;
    taken = ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
  }
  if (!taken && errno == EBADF) throw ErrnoError(info.Env(), errno, "ioctl");
  return Napi::Boolean::New(info.Env(), taken);
}

// flock(2), exclusive and without waiting. The lock goes with the descriptor.
Value TryLock(const CallbackInfo& info) {
  if (flock(Fd(info, 0, "fd"), LOCK_EX | LOCK_NB) == 0) return Napi::Boolean::New(info.Env(), true);
  if (errno != EWOULDBLOCK) throw ErrnoError(info.Env(), errno, "flock");
  return Napi::Boolean::New(info.Env(), false);
}

// Of this thread alone, unlike what the C library calls so. Leaving user 0 takes powers over files away, of which there
// are as many as before afterwards. Answers whether the thread has these ids now.
bool SetThreadFsIds(uint32_t uid, uint32_t gid) {
  (void)syscall(SYS_setfsgid, gid);
  (void)syscall(SYS_setfsuid, uid);
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) == 0) {
    for (auto& half : data) half.effective = half.permitted;
    (void)syscall(SYS_capset, &header, data);
  }
  // the calls answer what was before, and -1 changes nothing
  return static_cast<uint32_t>(syscall(SYS_setfsgid, -1)) == gid && static_cast<uint32_t>(syscall(SYS_setfsuid, -1)) == uid;
}

void SetFsIds(const CallbackInfo& info) {
  if (SetThreadFsIds(Uint(info, 0, "uid"), Uint(info, 1, "gid"))) return;
  (void)SetThreadFsIds(geteuid(), getegid());
  throw ErrnoError(info.Env(), EPERM, "setfsuid");
}

}  // namespace

void InitFs(Napi::Env env, Napi::Object exports) {
  exports.Set("openat2", Napi::Function::New<Openat2>(env));
  exports.Set("mkdirat", Napi::Function::New<Mkdirat>(env));
  exports.Set("mknodat", Napi::Function::New<Mknodat>(env));
  exports.Set("symlinkat", Napi::Function::New<Symlinkat>(env));
  exports.Set("linkat", Napi::Function::New<Linkat>(env));
  exports.Set("unlinkat", Napi::Function::New<Unlinkat>(env));
  exports.Set("renameat2", Napi::Function::New<Renameat2>(env));
  exports.Set("fchownat", Napi::Function::New<Fchownat>(env));
  exports.Set("fchmodat", Napi::Function::New<Fchmodat>(env));
  exports.Set("utimensat", Napi::Function::New<Utimensat>(env));
  exports.Set("setxattrat", Napi::Function::New<Setxattrat>(env));
  exports.Set("getxattrat", Napi::Function::New<Getxattrat>(env));
  exports.Set("listxattrat", Napi::Function::New<Listxattrat>(env));
  exports.Set("syncfs", Napi::Function::New<Syncfs>(env));
  exports.Set("spreadSubdirectories", Napi::Function::New<SpreadSubdirectories>(env));
  exports.Set("tryLock", Napi::Function::New<TryLock>(env));
  exports.Set("setFsIds", Napi::Function::New<SetFsIds>(env));
}

}  // namespace tare
