// A digest computed by a thread of its own while JavaScript makes the next bytes. The functions are those of the OpenSSL
// that Node.js itself has, found by name when they are wanted: they are the same in all versions of it since 1.1.
#include <dlfcn.h>

#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <system_error>
#include <thread>

#include "addon.h"
#include "args.h"
#include "errors.h"

namespace tare {
namespace {

using Napi::CallbackInfo;

struct Digests {
  void* (*make)();
  void (*free)(void*);
  int (*init)(void*, const void*, void*);
  int (*update)(void*, const void*, size_t);
  int (*final)(void*, unsigned char*, unsigned*);
  const void* (*sha256)();
  const void* (*sha512)();

  bool complete() const { return make && free && init && update && final && sha256 && sha512; }
};

template <typename Function>
void Find(const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
}

const Digests& Functions() {
  static const Digests digests = [] {
    Digests found;
    Find("EVP_MD_CTX_new", &found.make);
    Find("EVP_MD_CTX_free", &found.free);
    Find("EVP_DigestInit_ex", &found.init);
    Find("EVP_DigestUpdate", &found.update);
    Find("EVP_DigestFinal_ex", &found.final);
    Find("EVP_sha256", &found.sha256);
    Find("EVP_sha512", &found.sha512);
    return found;
  }();
  return digests;
}

class HashThread : public Napi::ObjectWrap<HashThread> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "HashThread",
                       {
                           InstanceMethod<&HashThread::Update>("update"),
                           InstanceMethod<&HashThread::Digest>("digest"),
                           InstanceMethod<&HashThread::Close>("close"),
                       });
  }

  // new HashThread(isSha512)
  explicit HashThread(const CallbackInfo& info) : Napi::ObjectWrap<HashThread>(info) {
    const Digests& functions = Functions();
    bool is_sha512 = Bool(info, 0, "isSha512");
    if (functions.complete()) context_ = functions.make();
    if (!context_ || functions.init(context_, is_sha512 ? functions.sha512() : functions.sha256(), nullptr) != 1) {
      throw ErrnoError(info.Env(), ENOTSUP, "EVP_DigestInit_ex");
    }
    try {
      thread_ = std::thread([this] { Work(); });
    } catch (const std::system_error& error) {
      throw ErrnoError(info.Env(), error.code().value(), "pthread_create");
    }
  }

  ~HashThread() override {
    End();
    if (context_) Functions().free(context_);
  }

 private:
  // update(chunk): when it returns, the bytes before are hashed; these are then read until the next call returns.
  void Update(const CallbackInfo& info) {
    Bytes chunk = ByteArray(info, 0, "chunk");
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return !pending_; });
    Check(info.Env());
    chunk_ = chunk;
    held_ = Napi::Persistent(info[0].As<Napi::Object>());
    pending_ = true;
    work_.notify_one();
  }

  // digest(): in hexadecimal digits. Nothing can be added any more.
  Napi::Value Digest(const CallbackInfo& info) {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return !pending_; });
    Check(info.Env());
    unsigned char bytes[64];
    unsigned size = 0;
    failed_ = Functions().final(context_, bytes, &size) != 1;
    Check(info.Env());
    failed_ = true;
    char text[2 * sizeof bytes + 1];
    for (unsigned i = 0; i < size; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return Napi::String::New(info.Env(), text, 2 * size);
  }

  void Close(const CallbackInfo&) { End(); }

  void Check(Napi::Env env) {
    if (failed_ || ended_) throw ErrnoError(env, EINVAL, "EVP_DigestUpdate");
  }

  void End() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
      work_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
    held_.Reset();
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return ended_ || pending_; });
      if (ended_) return;
      lock.unlock();
      bool hashed = Functions().update(context_, chunk_.data, chunk_.size) == 1;
      lock.lock();
      failed_ = failed_ || !hashed;
      pending_ = false;
      done_.notify_one();
    }
  }

  void* context_ = nullptr;
  std::mutex mutex_;
  // for the thread: bytes to hash
  std::condition_variable work_;
  // for JavaScript: they are hashed
  std::condition_variable done_;
  Bytes chunk_ = {nullptr, 0};
  // keeps the memory of the chunk
  Napi::ObjectReference held_;
  bool pending_ = false;
  bool failed_ = false;
  bool ended_ = false;
  std::thread thread_;
};

Napi::Value HasHashThread(const CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Functions().complete());
}

}  // namespace

void InitHashThread(Napi::Env env, Napi::Object exports) {
  exports.Set("HashThread", HashThread::Define(env));
  exports.Set("hasHashThread", Napi::Function::New<HasHashThread>(env));
}

}  // namespace tare
