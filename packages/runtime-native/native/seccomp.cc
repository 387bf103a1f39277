// Seccomp notifications: taking one from a filter's listener, and answering it.
#include <poll.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>

#include "addon.h"
#include "args.h"
#include "errors.h"

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

// of <linux/seccomp.h>, whose older versions lack some
struct Notification {
  uint64_t id;
  uint32_t pid;
  uint32_t flags;
  int32_t syscall;
  uint32_t arch;
  uint64_t instruction;
  uint64_t args[6];
};
struct Answer {
  uint64_t id;
  int64_t value;
  int32_t error;
  uint32_t flags;
};
constexpr unsigned long kReceive = _IOWR('!', 0, Notification);
constexpr unsigned long kSend = _IOWR('!', 1, Answer);
constexpr unsigned long kValid = _IOW('!', 2, uint64_t);

int Ioctl(int fd, unsigned long request, void* argument) {
  int result;
  do {
    result = ioctl(fd, request, argument);
  } while (result < 0 && errno == EINTR);
  return result;
}

// seccompReceive(listener) → the notification, or undefined when there is none
Value Receive(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  Notification notification = {};
  const int listener = Fd(info, 0, "listener");
  // Where the last process of the filter is gone, kernels before 6.11 wait in the ioctl for ever. A call that is given up
  // between the two does not make them wait: it was counted.
  struct pollfd ready = {listener, POLLIN, 0};
  if (poll(&ready, 1, 0) == 0 || (ready.revents & (POLLIN | POLLNVAL)) == 0) return env.Undefined();
  if (Ioctl(listener, kReceive, &notification) < 0) {
    if (errno == ENOENT) return env.Undefined();
    throw ErrnoError(env, errno, "ioctl(SECCOMP_IOCTL_NOTIF_RECV)");
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", Napi::BigInt::New(env, notification.id));
  result.Set("pid", notification.pid);
  result.Set("syscall", notification.syscall);
  result.Set("arch", notification.arch);
  result.Set("instruction", Napi::BigInt::New(env, notification.instruction));
  Napi::Array args = Napi::Array::New(env, 6);
  for (uint32_t i = 0; i < 6; i++) args.Set(i, Napi::BigInt::New(env, notification.args[i]));
  result.Set("args", args);
  return result;
}

// seccompSend(listener, id, value, error, flags) → whether the call was still waiting
Value Send(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  Answer answer = {};
  answer.id = static_cast<uint64_t>(Big(info, 1, "id"));
  answer.value = Big(info, 2, "value");
  answer.error = Int(info, 3, "error");
  answer.flags = Uint(info, 4, "flags");
  if (Ioctl(Fd(info, 0, "listener"), kSend, &answer) == 0) return Napi::Boolean::New(env, true);
  if (errno == ENOENT) return Napi::Boolean::New(env, false);
  throw ErrnoError(env, errno, "ioctl(SECCOMP_IOCTL_NOTIF_SEND)");
}

// seccompValid(listener, id)
Value Valid(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  auto id = static_cast<uint64_t>(Big(info, 1, "id"));
  if (Ioctl(Fd(info, 0, "listener"), kValid, &id) == 0) return Napi::Boolean::New(env, true);
  if (errno == ENOENT) return Napi::Boolean::New(env, false);
  throw ErrnoError(env, errno, "ioctl(SECCOMP_IOCTL_NOTIF_ID_VALID)");
}

}  // namespace

void InitSeccomp(Napi::Env env, Napi::Object exports) {
  exports.Set("seccompReceive", Napi::Function::New<Receive>(env));
  exports.Set("seccompSend", Napi::Function::New<Send>(env));
  exports.Set("seccompValid", Napi::Function::New<Valid>(env));
}

}  // namespace tare
