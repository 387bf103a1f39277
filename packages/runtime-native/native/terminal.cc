// Pseudo-terminals: opening a pair, and the window size.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "addon.h"
#include "args.h"
#include "errors.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

Value Openpty(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (master < 0) throw ErrnoError(env, errno, "open", "/dev/ptmx");
  int slave = -1;
  unsigned int number = 0;
  // TIOCGPTPEER opens the peer of this very master; a path could name another file system's terminal
  if (unlockpt(master) == 0 && ioctl(master, TIOCGPTN, &number) == 0) {
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  }
  if (slave < 0) {
    int err = errno;
    close(master);
    throw ErrnoError(env, err, "ioctl(TIOCGPTPEER)", "/dev/ptmx");
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("master", master);
  result.Set("slave", slave);
  result.Set("number", number);
  return result;
}

void SetWindowSize(const CallbackInfo& info) {
  struct winsize size = {};
  size.ws_col = static_cast<unsigned short>(Uint(info, 1, "columns"));
  size.ws_row = static_cast<unsigned short>(Uint(info, 2, "rows"));
  if (ioctl(Fd(info, 0, "fd"), TIOCSWINSZ, &size) < 0) throw ErrnoError(info.Env(), errno, "ioctl(TIOCSWINSZ)");
}

Value GetWindowSize(const CallbackInfo& info) {
  struct winsize size = {};
  if (ioctl(Fd(info, 0, "fd"), TIOCGWINSZ, &size) < 0) throw ErrnoError(info.Env(), errno, "ioctl(TIOCGWINSZ)");
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("columns", size.ws_col);
  result.Set("rows", size.ws_row);
  return result;
}

}  // namespace

void InitTerminal(Napi::Env env, Napi::Object exports) {
  exports.Set("openpty", Napi::Function::New<Openpty>(env));
  exports.Set("setWindowSize", Napi::Function::New<SetWindowSize>(env));
  exports.Set("getWindowSize", Napi::Function::New<GetWindowSize>(env));
}

}  // namespace tare
