// Netlink sockets: bytes in, datagrams out. Messages are encoded and understood in TypeScript.
//
// rtnetlink and nfnetlink do all their work inside send() and queue every reply before it returns; a dump goes on inside
// recv(). So a request is complete when the receive queue is empty, and nothing here needs to know a message.
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <mutex>

#include "addon.h"
#include "args.h"
#include "work.h"

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

// The kernel fills at most 32 KiB per datagram of a dump; single replies (a link with many virtual functions) are larger.
constexpr size_t kDatagramBytes = 256 * 1024;
// Room for the acks of a batch of a few thousand messages, and for a batch itself.
constexpr int kBufferBytes = 8 * 1024 * 1024;

struct Datagrams {
  std::vector<uint8_t> bytes;
  std::vector<size_t> ends;

  // One backing buffer for all of them.
  Value ToArray(Napi::Env env) const {
    Napi::ArrayBuffer backing = Napi::ArrayBuffer::New(env, bytes.size());
    if (!bytes.empty()) std::memcpy(backing.Data(), bytes.data(), bytes.size());
    Napi::Array array = Napi::Array::New(env, ends.size());
    size_t start = 0;
    for (uint32_t i = 0; i < ends.size(); i++) {
      array.Set(i, Napi::Uint8Array::New(env, ends[i] - start, backing, start));
      start = ends[i];
    }
    return array;
  }
};

// The descriptor, shared with requests in flight; closes with the last of them.
struct Channel {
  int fd = -1;
  // one request at a time, or one would take the other's replies
  std::mutex mutex;

  Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() {
    if (fd >= 0) close(fd);
  }

  Failure Drain(Datagrams* datagrams) {
    static thread_local std::unique_ptr<uint8_t[]> buffer(new uint8_t[kDatagramBytes]);
    Failure failure;
    for (;;) {
      ssize_t size = recv(fd, buffer.get(), kDatagramBytes, MSG_DONTWAIT | MSG_TRUNC);
      if (size < 0 && errno == EINTR) continue;
      if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return failure;
      if (size < 0) {
        // ENOBUFS tells of lost messages once; what is queued behind it must not meet the next request
        if (failure) return failure;
        failure = {errno, "recv", "netlink"};
        continue;
      }
      if (static_cast<size_t>(size) > kDatagramBytes) {
        failure = {EMSGSIZE, "recv", "netlink"};
        continue;
      }
      datagrams->bytes.insert(datagrams->bytes.end(), buffer.get(), buffer.get() + size);
      datagrams->ends.push_back(datagrams->bytes.size());
    }
  }

  Failure Exchange(const uint8_t* data, size_t size, Datagrams* datagrams) {
    std::lock_guard<std::mutex> lock(mutex);
    ssize_t sent;
    do {
      sent = send(fd, data, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) return {errno, "send", "netlink"};
    return Drain(datagrams);
  }
};

Failure Open(int protocol, const std::vector<int>& groups, Channel* channel) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
  if (fd < 0) return {errno, "socket", "netlink"};
  channel->fd = fd;
  // Without CAP_NET_ADMIN in the first user namespace the plain options, capped by net.core.*mem_max, must do.
  int bytes = kBufferBytes;
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0) {
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0) {
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  }
  int one = 1;
  setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
  setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
  struct sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  // bound before any membership: an unbound socket hears nothing
  if (bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) < 0) return {errno, "bind", "netlink"};
  for (int group : groups) {
    if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
      return {errno, "setsockopt(NETLINK_ADD_MEMBERSHIP)", "netlink"};
    }
  }
  return {};
}

class NetlinkSocket : public Napi::ObjectWrap<NetlinkSocket> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NetlinkSocket",
                       {
                           InstanceMethod<&NetlinkSocket::Exchange>("exchange"),
                           InstanceMethod<&NetlinkSocket::Request>("request"),
                           InstanceMethod<&NetlinkSocket::Receive>("receive"),
                           InstanceMethod<&NetlinkSocket::Close>("close"),
                           InstanceAccessor<&NetlinkSocket::Descriptor>("fd"),
                           InstanceAccessor<&NetlinkSocket::PortId>("portId"),
                       });
  }

  // new NetlinkSocket(protocol, netns (a descriptor, or -1), groups)
  explicit NetlinkSocket(const CallbackInfo& info)
      : Napi::ObjectWrap<NetlinkSocket>(info), channel_(std::make_shared<Channel>()) {
    int protocol = Int(info, 0, "protocol");
    int netns = Int(info, 1, "netns");
    std::vector<int> groups = Fds(info, 2, "groups");
    // a socket keeps the namespace it was made in, whichever thread uses it
    Failure failure = InNetworkNamespace(netns, [&] { return Open(protocol, groups, channel_.get()); });
    if (failure) throw failure.ToError(info.Env());
  }

 private:
  Channel& Use(Napi::Env env) {
    if (!channel_) throw ErrnoError(env, EBADF, "send", "netlink");
    return *channel_;
  }

  Napi::Value Exchange(const CallbackInfo& info) {
    Bytes bytes = ByteArray(info, 0, "bytes");
    Datagrams datagrams;
    Failure failure = Use(info.Env()).Exchange(bytes.data, bytes.size, &datagrams);
    if (failure) throw failure.ToError(info.Env());
    return datagrams.ToArray(info.Env());
  }

  Napi::Value Request(const CallbackInfo& info) {
    Bytes bytes = ByteArray(info, 0, "bytes");
    Use(info.Env());
    // copied: JavaScript may change the array while the request waits
    auto message = std::make_shared<std::vector<uint8_t>>(bytes.data, bytes.data + bytes.size);
    auto datagrams = std::make_shared<Datagrams>();
    auto channel = channel_;
    return PromiseWork::Run(
        info.Env(), "netlink",
        [=] { return channel->Exchange(message->data(), message->size(), datagrams.get()); },
        [datagrams](Napi::Env env) { return datagrams->ToArray(env); });
  }

  Napi::Value Receive(const CallbackInfo& info) {
    Datagrams datagrams;
    Channel& channel = Use(info.Env());
    std::lock_guard<std::mutex> lock(channel.mutex);
    Failure failure = channel.Drain(&datagrams);
    if (failure) throw failure.ToError(info.Env());
    return datagrams.ToArray(info.Env());
  }

  void Close(const CallbackInfo&) { channel_.reset(); }

  Napi::Value Descriptor(const CallbackInfo& info) {
    return Napi::Number::New(info.Env(), channel_ ? channel_->fd : -1);
  }

  Napi::Value PortId(const CallbackInfo& info) {
    struct sockaddr_nl address = {};
    socklen_t size = sizeof address;
    if (getsockname(Use(info.Env()).fd, reinterpret_cast<struct sockaddr*>(&address), &size) < 0) {
      throw ErrnoError(info.Env(), errno, "getsockname", "netlink");
    }
    return Napi::Number::New(info.Env(), address.nl_pid);
  }

  std::shared_ptr<Channel> channel_;
};

}  // namespace

void InitNetlink(Napi::Env env, Napi::Object exports) { exports.Set("NetlinkSocket", NetlinkSocket::Define(env)); }

}  // namespace tare
