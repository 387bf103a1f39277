// Promises for work that may block: a libuv pool thread, or a fresh thread where the work changes its thread's namespaces.
#pragma once

#include <napi.h>

#include <functional>
#include <thread>
#include <utility>

#include "errors.h"

namespace tare {

/// Runs `work` on a pool thread; resolves with what `done` makes of the outcome on the JavaScript thread.
class PromiseWork : public Napi::AsyncWorker {
 public:
  using Work = std::function<Failure()>;
  using Done = std::function<Napi::Value(Napi::Env)>;

  static Napi::Promise Run(Napi::Env env, const char* name, Work work, Done done = nullptr) {
    auto* self = new PromiseWork(env, name, std::move(work), std::move(done));
    Napi::Promise promise = self->deferred_.Promise();
    self->Queue();
    return promise;
  }

 protected:
  void Execute() override { failure_ = work_(); }

  void OnOK() override {
    Napi::Env env = Env();
    if (failure_) {
      deferred_.Reject(failure_.ToError(env).Value());
    } else {
      deferred_.Resolve(done_ ? done_(env) : env.Undefined());
    }
  }

 private:
  PromiseWork(Napi::Env env, const char* name, Work work, Done done)
      : Napi::AsyncWorker(env, name),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        done_(std::move(done)) {}

  Napi::Promise::Deferred deferred_;
  Work work_;
  Done done_;
  Failure failure_;
};

/// Runs `work` on a thread made for it and waits for its end: what it does to its namespaces ends with it.
inline Failure OnFreshThread(const std::function<Failure()>& work) {
  Failure failure;
  try {
    std::thread([&] { failure = work(); }).join();
  } catch (const std::system_error& error) {
    failure = {error.code().value(), "pthread_create", ""};
  }
  return failure;
}

/// The same in the network namespace behind `netns`, or on the calling thread when `netns` is negative.
Failure InNetworkNamespace(int netns, const std::function<Failure()>& work);

}  // namespace tare
