// The device program of a version 2 cgroup: bpf(2).
#include <linux/bpf.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon.h"
#include "args.h"
#include "errors.h"

namespace tare {
namespace {

using Napi::CallbackInfo;

// More programs than this on one cgroup are not ours alone.
constexpr uint32_t kMaxPrograms = 64;
// As libbpf has it.
constexpr int kLoadAttempts = 5;

long Bpf(int command, union bpf_attr* attributes) { return syscall(SYS_bpf, command, attributes, sizeof *attributes); }

// Owns a descriptor.
struct Handle {
  int fd;
  explicit Handle(long fd) : fd(static_cast<int>(fd)) {}
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() {
    if (fd >= 0) close(fd);
  }
};

int LoadProgram(const Bytes& code) {
  static const char license[] = "Apache-2.0";
  union bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<uint64_t>(code.data);
  attributes.insn_cnt = static_cast<uint32_t>(code.size / sizeof(struct bpf_insn));
  attributes.license = reinterpret_cast<uint64_t>(license);
  // the verifier gives up with EAGAIN when a signal is to be handled: let none, and try again for what else counts as one
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int fd = -1;
  for (int attempt = 0; attempt < kLoadAttempts; attempt++) {
    fd = static_cast<int>(Bpf(BPF_PROG_LOAD, &attributes));
    if (fd >= 0 || errno != EAGAIN) break;
  }
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return fd;
}

// setCgroupDevices(cgroupFd, instructions): the new program takes effect before the old ones go.
void SetCgroupDevices(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int cgroup = Fd(info, 0, "cgroupFd");
  Bytes code = ByteArray(info, 1, "instructions");

  uint32_t old[kMaxPrograms] = {};
  union bpf_attr query = {};
  query.query.target_fd = static_cast<uint32_t>(cgroup);
  query.query.attach_type = BPF_CGROUP_DEVICE;
  query.query.prog_ids = reinterpret_cast<uint64_t>(old);
  query.query.prog_cnt = kMaxPrograms;
  if (Bpf(BPF_PROG_QUERY, &query) < 0) throw ErrnoError(env, errno, "bpf(BPF_PROG_QUERY)");

  Handle program(LoadProgram(code));
  if (program.fd < 0) throw ErrnoError(env, errno, "bpf(BPF_PROG_LOAD)");
  union bpf_attr attach = {};
  attach.target_fd = static_cast<uint32_t>(cgroup);
  attach.attach_bpf_fd = static_cast<uint32_t>(program.fd);
  attach.attach_type = BPF_CGROUP_DEVICE;
  // cgroups below may have their own programs; all of them must agree
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (Bpf(BPF_PROG_ATTACH, &attach) < 0) throw ErrnoError(env, errno, "bpf(BPF_PROG_ATTACH)");

  for (uint32_t i = 0; i < query.query.prog_cnt; i++) {
    union bpf_attr byId = {};
    byId.prog_id = old[i];
    Handle previous(Bpf(BPF_PROG_GET_FD_BY_ID, &byId));
    if (previous.fd < 0) throw ErrnoError(env, errno, "bpf(BPF_PROG_GET_FD_BY_ID)");
    union bpf_attr detach = {};
    detach.target_fd = static_cast<uint32_t>(cgroup);
    detach.attach_bpf_fd = static_cast<uint32_t>(previous.fd);
    detach.attach_type = BPF_CGROUP_DEVICE;
    if (Bpf(BPF_PROG_DETACH, &detach) < 0) throw ErrnoError(env, errno, "bpf(BPF_PROG_DETACH)");
  }
}

}  // namespace

void InitBpf(Napi::Env env, Napi::Object exports) {
  exports.Set("setCgroupDevices", Napi::Function::New<SetCgroupDevices>(env));
}

}  // namespace tare
