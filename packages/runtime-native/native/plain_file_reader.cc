// Plain files read by a thread of their own, some before JavaScript asks for them.
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "addon.h"
#include "args.h"
#include "errors.h"
#include "whole_file.h"

namespace tare {
namespace {

using Napi::CallbackInfo;

// Each holds its content until it is taken.
constexpr size_t kMaxAsked = 64;

// A file that was asked for. `state` is the lock's; the rest belongs to the thread while it reads.
struct AskedFile {
  int directory;
  std::string name;
  uint64_t resolve;
  enum { kWaiting, kReading, kRead } state = kWaiting;
  bool plain = false;
  PlainFacts facts = {};
  std::unique_ptr<uint8_t[]> content;
};

class PlainFileReader : public Napi::ObjectWrap<PlainFileReader> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "PlainFileReader",
                       {
                           InstanceMethod<&PlainFileReader::Ask>("ask"),
                           InstanceMethod<&PlainFileReader::Take>("take"),
                           InstanceMethod<&PlainFileReader::Close>("close"),
                       });
  }

  // new PlainFileReader(maxBytes)
  explicit PlainFileReader(const CallbackInfo& info)
      : Napi::ObjectWrap<PlainFileReader>(info), max_bytes_(Uint(info, 0, "maxBytes")) {}

  ~PlainFileReader() override { End(); }

 private:
  // ask(dirfd, name, resolve): a ticket, or 0 when too many are under way.
  Napi::Value Ask(const CallbackInfo& info) {
    auto file = std::make_shared<AskedFile>();
    file->directory = Fd(info, 0, "dirfd");
    file->name = Path(info, 1, "name");
    file->resolve = static_cast<uint64_t>(Integer(info, 2, "resolve"));
    std::lock_guard<std::mutex> lock(mutex_);
    if (asked_.size() >= kMaxAsked || ended_) return Napi::Number::New(info.Env(), 0);
    if (!thread_.joinable()) Start(info.Env());
    asked_.emplace(++last_ticket_, file);
    waiting_.push_back(std::move(file));
    if (idle_) work_.notify_one();
    return Napi::Number::New(info.Env(), last_ticket_);
  }

  // take(ticket, into, facts): whether it was a plain file. What is not begun is read here: to wait would take longer.
  Napi::Value Take(const CallbackInfo& info) {
    Bytes into = ByteArray(info, 1, "into");
    std::unique_lock<std::mutex> lock(mutex_);
    auto found = asked_.find(Uint(info, 0, "ticket"));
    if (found == asked_.end()) throw ArgumentError(info.Env(), "ticket", "one that was given and not taken");
    std::shared_ptr<AskedFile> file = std::move(found->second);
    asked_.erase(found);
    uint8_t* target = const_cast<uint8_t*>(into.data);
    if (file->state == AskedFile::kWaiting) {
      for (auto at = waiting_.begin(); at != waiting_.end(); ++at) {
        if (*at != file) continue;
        waiting_.erase(at);
        break;
      }
      lock.unlock();
      size_t size = into.size < max_bytes_ ? into.size : max_bytes_;
      file->plain = ReadPlain(file->directory, file->name, file->resolve, target, size, &file->facts);
    } else {
      read_.wait(lock, [&] { return file->state == AskedFile::kRead; });
      file->plain = file->plain && file->facts.size <= into.size;
      if (file->plain) memcpy(target, file->content.get(), file->facts.size);
      spare_.push_back(std::move(file->content));
      lock.unlock();
    }
    if (file->plain) StoreFacts(info, 2, file->facts);
    return Napi::Boolean::New(info.Env(), file->plain);
  }

  void Close(const CallbackInfo&) { End(); }

  void Start(Napi::Env env) {
    try {
      thread_ = std::thread([this] { Work(); });
    } catch (const std::system_error& error) {
      throw ErrnoError(env, error.code().value(), "pthread_create");
    }
  }

  void End() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
      work_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
    waiting_.clear();
    asked_.clear();
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      idle_ = true;
      work_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
      idle_ = false;
      if (ended_) return;
      std::shared_ptr<AskedFile> file = std::move(waiting_.front());
      waiting_.pop_front();
      file->state = AskedFile::kReading;
      if (!spare_.empty()) {
        file->content = std::move(spare_.back());
        spare_.pop_back();
      }
      lock.unlock();
      if (!file->content) file->content.reset(new uint8_t[max_bytes_]);
      file->plain =
          ReadPlain(file->directory, file->name, file->resolve, file->content.get(), max_bytes_, &file->facts);
      lock.lock();
      file->state = AskedFile::kRead;
      read_.notify_one();
    }
  }

  const size_t max_bytes_;
  std::mutex mutex_;
  // for the thread: something to do
  std::condition_variable work_;
  // for JavaScript: something is read
  std::condition_variable read_;
  std::unordered_map<uint32_t, std::shared_ptr<AskedFile>> asked_;
  std::deque<std::shared_ptr<AskedFile>> waiting_;
  // memory that is mapped already
  std::vector<std::unique_ptr<uint8_t[]>> spare_;
  uint32_t last_ticket_ = 0;
  bool idle_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace

void InitPlainFileReader(Napi::Env env, Napi::Object exports) {
  exports.Set("PlainFileReader", PlainFileReader::Define(env));
}

}  // namespace tare
