// Waits for a descriptor to become readable or writable, on the event loop of the calling thread: pidfds, control
// sockets, netlink groups.
#include <fcntl.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <unordered_set>

#include "addon.h"
#include "args.h"
#include "errors.h"

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

struct Poll;

// What one environment (the main thread, or a worker) has open. Lives until its last handle is closed.
struct Loop {
  std::unordered_set<Poll*> polls;
  napi_async_cleanup_hook_handle hook = nullptr;
  bool ending = false;
};

struct Poll {
  uv_poll_t handle;
  Loop* loop;
  napi_env env;
  int fd;
  Napi::FunctionReference callback;
  bool closing = false;
};

void FinishIfEmpty(Loop* loop) {
  if (!loop->ending || !loop->polls.empty()) return;
  napi_remove_async_cleanup_hook(loop->hook);
  delete loop;
}

void ClosePoll(Poll* poll) {
  if (poll->closing) return;
  poll->closing = true;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll->handle), [](uv_handle_t* handle) {
    auto* poll = static_cast<Poll*>(handle->data);
    Loop* loop = poll->loop;
    close(poll->fd);
    loop->polls.erase(poll);
    {
      Napi::HandleScope scope(poll->env);
      delete poll;
    }
    FinishIfEmpty(loop);
  });
}

void EndLoop(napi_async_cleanup_hook_handle, void* data) {
  auto* loop = static_cast<Loop*>(data);
  loop->ending = true;
  for (Poll* poll : loop->polls) ClosePoll(poll);
  FinishIfEmpty(loop);
}

void OnReady(uv_poll_t* handle, int status, int events) {
  auto* poll = static_cast<Poll*>(handle->data);
  Napi::Env env(poll->env);
  Napi::HandleScope scope(env);
  try {
    poll->callback.MakeCallback(env.Global(), {Napi::Number::New(env, status), Napi::Number::New(env, events)});
  } catch (const Napi::Error& error) {
    // the same as for any other callback that throws: 'uncaughtException'
    napi_fatal_exception(env, error.Value());
  }
}

// The object JavaScript holds. Its Poll may end before it (environment teardown) or after it (uv_close is asynchronous).
class Watcher : public Napi::ObjectWrap<Watcher> {
 public:
  static Napi::Function Define(Napi::Env env, Loop* loop) {
    return DefineClass(env, "Watcher",
                       {
                           InstanceMethod<&Watcher::Close>("close"),
                           InstanceMethod<&Watcher::KeepAlive>("keepAlive"),
                       },
                       loop);
  }

  // new Watcher(fd, events, callback)
  explicit Watcher(const CallbackInfo& info) : Napi::ObjectWrap<Watcher>(info) {
    Napi::Env env = info.Env();
    auto* loop = static_cast<Loop*>(info.Data());
    int events = Int(info, 1, "events");
    if (!info[2].IsFunction()) throw ArgumentError(env, "callback", "a function");
    // an own descriptor: the caller may close its own at any time, and two watchers may share one
    int fd = fcntl(Fd(info, 0, "fd"), F_DUPFD_CLOEXEC, 3);
    if (fd < 0) throw ErrnoError(env, errno, "fcntl");
    uv_loop_t* uv = nullptr;
    napi_get_uv_event_loop(env, &uv);
    auto* poll = new Poll{{}, loop, env, fd, Napi::Persistent(info[2].As<Napi::Function>())};
    int result = uv_poll_init(uv, &poll->handle, fd);
    if (result < 0) {
      close(fd);
      delete poll;
      throw ErrnoError(env, -result, "epoll_ctl");
    }
    poll->handle.data = poll;
    loop->polls.insert(poll);
    result = uv_poll_start(&poll->handle, events, OnReady);
    if (result < 0) {
      ClosePoll(poll);
      throw ErrnoError(env, -result, "epoll_ctl");
    }
    poll_ = poll;
  }

 private:
  // The handle is live exactly while the loop still lists it and close was not called through this object.
  void Close(const CallbackInfo&) {
    if (poll_ == nullptr) return;
    ClosePoll(poll_);
    poll_ = nullptr;
  }

  void KeepAlive(const CallbackInfo& info) {
    if (poll_ == nullptr) return;
    auto* handle = reinterpret_cast<uv_handle_t*>(&poll_->handle);
    if (Bool(info, 0, "keepAlive")) {
      uv_ref(handle);
    } else {
      uv_unref(handle);
    }
  }

  Poll* poll_ = nullptr;
};

}  // namespace

void InitWatch(Napi::Env env, Napi::Object exports) {
  auto* loop = new Loop;
  napi_status status = napi_add_async_cleanup_hook(env, EndLoop, loop, &loop->hook);
  if (status != napi_ok) {
    delete loop;
    throw Napi::Error::New(env, "cannot register the end of the event loop");
  }
  exports.Set("Watcher", Watcher::Define(env, loop));
}

}  // namespace tare
