// Processes: a spawn that does not copy this process, pidfds, and the sealed copy of the helper.
//
// fork() of a Node.js with a large heap takes tens of milliseconds, most of it page tables. The child here borrows the
// parent's memory until it executes (CLONE_VM | CLONE_VFORK), so it may only make system calls.
#include <fcntl.h>
#include <link.h>
#include <linux/close_range.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <mutex>
#include <string>

#include "addon.h"
#include "args.h"
#include "errors.h"

#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

constexpr size_t kChildStackBytes = 64 * 1024;
// the kernel's signal set: one bit for each of 64 signals
constexpr size_t kSignalSetBytes = 8;
constexpr int kSignalCount = 64;

// struct sigaction as rt_sigaction(2) takes it; all zeros is SIG_DFL without flags.
struct KernelSigaction {
  void* handler;
  unsigned long flags;
  void* restorer;
  uint64_t mask;
};

struct Child {
  int exe;
  char* const* argv;
  char* const* envp;
  // descriptor to become number i; overwritten by the child
  int* sources;
  int count;
  // what failed in the child, for the parent
  int err;
  const char* step;
};

int Fail(Child* child, const char* step) {
  child->err = errno;
  child->step = step;
  return 127;
}

// Runs in the parent's memory: system calls only, no allocation, no locks.
int RunChild(void* argument) {
  auto* child = static_cast<Child*>(argument);

  // The parent's handlers must not run here once signals are unblocked, and its ignored signals must not be inherited.
  KernelSigaction fallback = {};
  for (int signal = 1; signal <= kSignalCount; signal++) {
    if (signal != SIGKILL && signal != SIGSTOP) {
      syscall(SYS_rt_sigaction, signal, &fallback, nullptr, kSignalSetBytes);
    }
  }

  // First move every source out of the target range, so that no dup3 below overwrites one that is still needed.
  for (int i = 0; i < child->count; i++) {
    if (child->sources[i] != i && child->sources[i] < child->count) {
      int moved = fcntl(child->sources[i], F_DUPFD_CLOEXEC, child->count);
      if (moved < 0) return Fail(child, "fcntl");
      child->sources[i] = moved;
    }
  }
  if (child->exe < child->count) {
    child->exe = fcntl(child->exe, F_DUPFD_CLOEXEC, child->count);
    if (child->exe < 0) return Fail(child, "fcntl");
  }
  for (int i = 0; i < child->count; i++) {
    if (child->sources[i] == i) {
      if (fcntl(i, F_SETFD, 0) < 0) return Fail(child, "fcntl");
    } else if (dup3(child->sources[i], i, 0) < 0) {
      return Fail(child, "dup3");
    }
  }
  // Everything else closes at exec. Node.js and this addon open with O_CLOEXEC, other addons may not; kernels before
  // 5.11 lack the flag and rely on that alone.
  syscall(SYS_close_range, child->count, ~0U, CLOSE_RANGE_CLOEXEC);

  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, kSignalSetBytes);
  syscall(SYS_execveat, child->exe, "", child->argv, child->envp, AT_EMPTY_PATH);
  return Fail(child, "execveat");
}

std::vector<std::string> Strings(const CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsArray()) throw ArgumentError(info.Env(), name, "an array of strings");
  auto array = info[index].As<Napi::Array>();
  std::vector<std::string> strings(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) {
    Napi::Value value = array.Get(i);
    if (!value.IsString()) throw ArgumentError(info.Env(), name, "an array of strings");
    strings[i] = value.As<Napi::String>().Utf8Value();
    if (strings[i].find('\0') != std::string::npos) throw ArgumentError(info.Env(), name, "free of NUL bytes");
  }
  return strings;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// One descriptor of /dev/null for the life of the process.
int NullDevice() {
  static const int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  return fd;
}

// spawn(exeFd, argv, env, stdio and further descriptors; -1 for /dev/null)
Value Spawn(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int exe = Fd(info, 0, "exeFd");
  std::vector<std::string> argv = Strings(info, 1, "argv");
  std::vector<std::string> environment = Strings(info, 2, "env");
  if (!info[3].IsArray()) throw ArgumentError(env, "fds", "an array of file descriptors");
  auto list = info[3].As<Napi::Array>();
  std::vector<int> sources(list.Length());
  for (uint32_t i = 0; i < list.Length(); i++) {
    Napi::Value value = list.Get(i);
    if (!value.IsNumber()) throw ArgumentError(env, "fds", "an array of file descriptors");
    sources[i] = value.As<Napi::Number>().Int32Value();
    if (sources[i] < 0) sources[i] = NullDevice();
    if (sources[i] < 0) throw ErrnoError(env, errno, "open", "/dev/null");
  }
  std::vector<char*> argvPointers = Pointers(argv);
  std::vector<char*> envPointers = Pointers(environment);
  Child child = {exe, argvPointers.data(), envPointers.data(), sources.data(), static_cast<int>(sources.size()), 0,
                 nullptr};

  // Reused: this thread sleeps until the child is done with it.
  static thread_local std::unique_ptr<char[]> stack(new char[kChildStackBytes]);
  auto top = reinterpret_cast<uintptr_t>(stack.get() + kChildStackBytes) & ~static_cast<uintptr_t>(15);

  uint64_t all = ~0ULL;
  uint64_t before = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, kSignalSetBytes);
  int pidfd = -1;
  // exit signal 0: libuv owns SIGCHLD, and the pidfd tells of the end
  int pid = clone(RunChild, reinterpret_cast<void*>(top), CLONE_VM | CLONE_VFORK | CLONE_PIDFD, &child, &pidfd);
  int cloneError = errno;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, kSignalSetBytes);
  if (pid < 0) throw ErrnoError(env, cloneError, "clone");
  if (child.err != 0) {
    siginfo_t ignored;
    while (waitid(static_cast<idtype_t>(P_PIDFD), pidfd, &ignored, WEXITED | __WALL) < 0 && errno == EINTR) {
    }
    close(pidfd);
    throw ErrnoError(env, child.err, child.step, argv.empty() ? "" : argv[0]);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("pid", pid);
  result.Set("pidfd", pidfd);
  return result;
}

Value PidfdOpen(const CallbackInfo& info) {
  int pid = Int(info, 0, "pid");
  long fd = syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "pidfd_open", std::to_string(pid));
  return Napi::Number::New(info.Env(), static_cast<double>(fd));
}

void PidfdSendSignal(const CallbackInfo& info) {
  if (syscall(SYS_pidfd_send_signal, Fd(info, 0, "pidfd"), Int(info, 1, "signal"), nullptr, 0) < 0) {
    throw ErrnoError(info.Env(), errno, "pidfd_send_signal");
  }
}

// Reaps the child behind a pidfd; undefined while it runs.
Value WaitPidfd(const CallbackInfo& info) {
  siginfo_t status = {};
  int result;
  do {
    result = waitid(static_cast<idtype_t>(P_PIDFD), Fd(info, 0, "pidfd"), &status, WEXITED | WNOHANG | __WALL);
  } while (result < 0 && errno == EINTR);
  // EAGAIN: still running, and the pidfd is non-blocking
  if (result < 0 && errno != EAGAIN) throw ErrnoError(info.Env(), errno, "waitid");
  if (result < 0 || status.si_pid == 0) return info.Env().Undefined();
  Napi::Object end = Napi::Object::New(info.Env());
  bool exited = status.si_code == CLD_EXITED;
  end.Set("code", exited ? Napi::Number::New(info.Env(), status.si_status) : info.Env().Null());
  end.Set("signal", exited ? info.Env().Null() : Napi::Number::New(info.Env(), status.si_status));
  return end;
}

Value MemfdCreate(const CallbackInfo& info) {
  std::string name = Path(info, 0, "name");
  long fd = syscall(SYS_memfd_create, name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "memfd_create", name);
  return Napi::Number::New(info.Env(), static_cast<double>(fd));
}

// pipe() → [read end, write end]
Value Pipe(const CallbackInfo& info) {
  int pair[2];
  if (pipe2(pair, O_CLOEXEC) < 0) throw ErrnoError(info.Env(), errno, "pipe2");
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, pair[0]);
  result.Set(1u, pair[1]);
  return result;
}

Value Eventfd(const CallbackInfo& info) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "eventfd");
  return Napi::Number::New(info.Env(), fd);
}

void AddSeals(const CallbackInfo& info) {
  if (fcntl(Fd(info, 0, "fd"), F_ADD_SEALS, Int(info, 1, "seals")) < 0) {
    throw ErrnoError(info.Env(), errno, "fcntl(F_ADD_SEALS)");
  }
}

Value GetSeals(const CallbackInfo& info) {
  int seals = fcntl(Fd(info, 0, "fd"), F_GET_SEALS);
  if (seals < 0) throw ErrnoError(info.Env(), errno, "fcntl(F_GET_SEALS)");
  return Napi::Number::New(info.Env(), seals);
}

Failure CopyAndSeal(const std::string& path, int* result) {
  int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {errno, "open", path};
  struct stat stat;
  Failure failure;
  int memory = -1;
  if (fstat(file, &stat) < 0) failure = {errno, "fstat", path};
  if (!failure) {
    memory = static_cast<int>(syscall(SYS_memfd_create, "tare-init", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC));
    // MFD_EXEC is in Linux 6.3; before it, every memfd is executable
    if (memory < 0 && errno == EINVAL) {
      memory = static_cast<int>(syscall(SYS_memfd_create, "tare-init", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    }
    if (memory < 0) failure = {errno, "memfd_create", path};
  }
  off_t offset = 0;
  while (!failure && offset < stat.st_size) {
    ssize_t sent = sendfile(memory, file, &offset, static_cast<size_t>(stat.st_size - offset));
    if (sent < 0 && errno != EINTR) failure = {errno, "sendfile", path};
    if (sent == 0) failure = {EIO, "sendfile", path};
  }
  if (!failure && fchmod(memory, 0500) < 0) failure = {errno, "fchmod", path};
  int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  if (!failure && fcntl(memory, F_ADD_SEALS, seals | F_SEAL_EXEC) < 0 &&
      (errno != EINVAL || fcntl(memory, F_ADD_SEALS, seals) < 0)) {
    failure = {errno, "fcntl(F_ADD_SEALS)", path};
  }
  close(file);
  if (failure && memory >= 0) close(memory);
  if (!failure) *result = memory;
  return failure;
}

// A sealed in-memory copy of an executable, made once for the process and all its worker threads. It stays open: it is
// what every container's helper runs from, and nothing can write to it (CVE-2019-5736).
Value SealedExecutable(const CallbackInfo& info) {
  static std::mutex mutex;
  static int fd = -1;
  std::string path = Path(info, 0, "path");
  std::lock_guard<std::mutex> lock(mutex);
  if (fd < 0) {
    Failure failure = CopyAndSeal(path, &fd);
    if (failure) throw failure.ToError(info.Env());
  }
  return Napi::Number::New(info.Env(), fd);
}

void CloseFds(const CallbackInfo& info) {
  for (int fd : Fds(info, 0, "fds")) close(fd);
}

// Whether a file is mapped at this address, and not anonymous memory: node --use-largepages moves its program there.
bool MapsFile(uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    unsigned long start, end, offset, inode;
    unsigned major, minor;
    if (sscanf(line.c_str(), "%lx-%lx %*4s %lx %x:%x %lu", &start, &end, &offset, &major, &minor, &inode) != 6) continue;
    if (address >= start && address < end) return inode != 0;
  }
  return false;
}

// The parts of the program that nobody writes to, which the linker does to some: those are in segments that can be
// written. What is needed again is mapped again from the page cache.
int LetGoOfProgram(struct dl_phdr_info* program, size_t, void*) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < program->dlpi_phnum; i++) {
    const auto& segment = program->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    // whole pages inside of the segment: its neighbours may share the others
    uintptr_t start = (program->dlpi_addr + segment.p_vaddr + page - 1) & ~(page - 1);
    uintptr_t end = (program->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
    if (end > start && MapsFile(start)) (void)madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
  }
  // the first is the program itself; libraries are small
  return 1;
}

// What free(3) keeps for later goes back to the kernel; other C libraries keep little.
void TrimMemory(const CallbackInfo&) {
  (void)dl_iterate_phdr(LetGoOfProgram, nullptr);
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace

void InitProcess(Napi::Env env, Napi::Object exports) {
  exports.Set("trimMemory", Napi::Function::New<TrimMemory>(env));
  exports.Set("spawn", Napi::Function::New<Spawn>(env));
  exports.Set("pidfdOpen", Napi::Function::New<PidfdOpen>(env));
  exports.Set("pidfdSendSignal", Napi::Function::New<PidfdSendSignal>(env));
  exports.Set("waitPidfd", Napi::Function::New<WaitPidfd>(env));
  exports.Set("memfdCreate", Napi::Function::New<MemfdCreate>(env));
  exports.Set("pipe", Napi::Function::New<Pipe>(env));
  exports.Set("eventfd", Napi::Function::New<Eventfd>(env));
  exports.Set("addSeals", Napi::Function::New<AddSeals>(env));
  exports.Set("getSeals", Napi::Function::New<GetSeals>(env));
  exports.Set("sealedExecutable", Napi::Function::New<SealedExecutable>(env));
  exports.Set("closeFds", Napi::Function::New<CloseFds>(env));
  struct rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  Napi::Object limit = Napi::Object::New(env);
  limit.Set("soft", Napi::Number::New(env, files.rlim_cur == RLIM_INFINITY ? -1 : static_cast<double>(files.rlim_cur)));
  limit.Set("hard", Napi::Number::New(env, files.rlim_max == RLIM_INFINITY ? -1 : static_cast<double>(files.rlim_max)));
  exports.Set("openFilesLimit", limit);
}

}  // namespace tare
