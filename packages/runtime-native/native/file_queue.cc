// Files made by a thread of their own while JavaScript goes on: a layer is thousands of small ones, and what the kernel
// does for each takes as long as reading the archive does.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "addon.h"
#include "args.h"
#include "errors.h"
#include "whole_file.h"

namespace tare {
namespace {

using Napi::CallbackInfo;

// Each holds a descriptor of its directory, so there must not be many.
constexpr size_t kMaxFiles = 128;
constexpr size_t kMaxBytes = 8 * 1024 * 1024;
// What the thread is woken for: to wake it for every file would cost as much as to make it.
constexpr size_t kWorthFiles = 16;
constexpr size_t kWorthBytes = 512 * 1024;

// A file that is still to be made. Its directory is its own descriptor: the caller may close the one it gave.
struct WaitingFile {
  int directory;
  std::string name;
  std::unique_ptr<uint8_t[]> content;
  size_t size;
  FileAttributes attributes;

  WaitingFile(int fd, std::string file_name, Bytes bytes, const FileAttributes& wanted)
      : directory(fd), name(std::move(file_name)), content(new uint8_t[bytes.size]), size(bytes.size), attributes(wanted) {
    if (size > 0) memcpy(content.get(), bytes.data, size);
  }
  WaitingFile(const WaitingFile&) = delete;
  WaitingFile& operator=(const WaitingFile&) = delete;
  ~WaitingFile() { close(directory); }
};

// The last of one name wins, as in an archive. A directory does not make room.
Failure Make(const WaitingFile& file) {
  auto make = [&] { return MakeFile(file.directory, file.name, file.content.get(), file.size, file.attributes); };
  Failure failure = make();
  bool room = failure.err == EEXIST && unlinkat(file.directory, file.name.c_str(), 0) == 0;
  return room ? make() : failure;
}

class FileQueue : public Napi::ObjectWrap<FileQueue> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "FileQueue",
                       {
                           InstanceMethod<&FileQueue::Add>("add"),
                           InstanceMethod<&FileQueue::Settle>("settle"),
                           InstanceMethod<&FileQueue::Close>("close"),
                       });
  }

  explicit FileQueue(const CallbackInfo& info) : Napi::ObjectWrap<FileQueue>(info) {}

  ~FileQueue() override { End(); }

 private:
  // add(dirfd, name, content, mode, uid, gid, atimeNs, mtimeNs): whether it will be made; not after one that could not.
  Napi::Value Add(const CallbackInfo& info) {
    std::string name = Path(info, 1, "name");
    Bytes content = ByteArray(info, 2, "content");
    FileAttributes attributes = AttributesAt(info, 3);
    int directory = fcntl(Fd(info, 0, "dirfd"), F_DUPFD_CLOEXEC, 3);
    if (directory < 0) throw ErrnoError(info.Env(), errno, "fcntl", name);
    auto file = std::make_unique<WaitingFile>(directory, std::move(name), content, attributes);
    std::unique_lock<std::mutex> lock(mutex_);
    // down to the half, so that the two do not wake each other for every file
    if (files_.size() >= kMaxFiles || bytes_ >= kMaxBytes) {
      room_.wait(lock, [this] { return failure_ || (files_.size() <= kMaxFiles / 2 && bytes_ <= kMaxBytes / 2); });
    }
    if (failure_ || ended_) return Napi::Boolean::New(info.Env(), false);
    bytes_ += file->size;
    files_.push_back(std::move(file));
    if (!thread_.joinable()) {
      Start(info.Env());
    } else if (idle_ && (files_.size() >= kWorthFiles || bytes_ >= kWorthBytes)) {
      work_.notify_one();
    }
    return Napi::Boolean::New(info.Env(), true);
  }

  // settle(): undefined when all are made, or { number, error } of the first that could not be.
  Napi::Value Settle(const CallbackInfo& info) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (idle_ && !files_.empty()) work_.notify_one();
    room_.wait(lock, [this] { return failure_ || (files_.empty() && !busy_); });
    if (!failure_) return info.Env().Undefined();
    Napi::Object failed = Napi::Object::New(info.Env());
    failed.Set("number", Napi::Number::New(info.Env(), static_cast<double>(made_)));
    failed.Set("error", failure_.ToError(info.Env()).Value());
    return failed;
  }

  // Those that are not begun will not be made.
  void Close(const CallbackInfo&) { End(); }

  void Start(Napi::Env env) {
    try {
      thread_ = std::thread([this] { Work(); });
    } catch (const std::system_error& error) {
      files_.clear();
      bytes_ = 0;
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
    files_.clear();
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      idle_ = true;
      work_.wait(lock, [this] { return ended_ || !files_.empty(); });
      idle_ = false;
      if (ended_) return;
      std::unique_ptr<WaitingFile> file = std::move(files_.front());
      files_.pop_front();
      busy_ = true;
      lock.unlock();
      Failure failure = Make(*file);
      size_t size = file->size;
      file.reset();
      lock.lock();
      busy_ = false;
      bytes_ -= size;
      if (failure) {
        failure_ = failure;
        files_.clear();
        bytes_ = 0;
      } else {
        made_ += 1;
      }
      if (failure || files_.empty() || (files_.size() <= kMaxFiles / 2 && bytes_ <= kMaxBytes / 2)) room_.notify_one();
    }
  }

  std::mutex mutex_;
  // for the thread: something to do
  std::condition_variable work_;
  // for JavaScript: less to do
  std::condition_variable room_;
  std::deque<std::unique_ptr<WaitingFile>> files_;
  size_t bytes_ = 0;
  size_t made_ = 0;
  bool idle_ = false;
  bool busy_ = false;
  bool ended_ = false;
  Failure failure_;
  std::thread thread_;
};

}  // namespace

void InitFileQueue(Napi::Env env, Napi::Object exports) { exports.Set("FileQueue", FileQueue::Define(env)); }

}  // namespace tare
