// Sockets that node:net does not have: unix ones with message boundaries and file descriptors in messages, and ports that
// are bound only to keep others away.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon.h"
#include "args.h"
#include "errors.h"
#include "work.h"

namespace tare {
namespace {

using Napi::CallbackInfo;
using Napi::Value;

// SCM_MAX_FD of the kernel
constexpr size_t kMaxFds = 253;

Value Socketpair(const CallbackInfo& info) {
  int pair[2];
  if (socketpair(AF_UNIX, Int(info, 0, "type") | SOCK_CLOEXEC, 0, pair) < 0) {
    throw ErrnoError(info.Env(), errno, "socketpair");
  }
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, pair[0]);
  result.Set(1u, pair[1]);
  return result;
}

Value ConnectUnix(const CallbackInfo& info) {
  std::string path = Path(info, 0, "path");
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw ErrnoError(info.Env(), ENAMETOOLONG, "connect", path);
  std::memcpy(address.sun_path, path.data(), path.size());
  int fd = socket(AF_UNIX, Int(info, 1, "type") | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "socket", path);
  if (connect(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address) < 0) {
    int err = errno;
    close(fd);
    throw ErrnoError(info.Env(), err, "connect", path);
  }
  return Napi::Number::New(info.Env(), fd);
}

// listenUnix(path, type) → descriptor, non-blocking
Value ListenUnix(const CallbackInfo& info) {
  std::string path = Path(info, 0, "path");
  struct sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw ErrnoError(info.Env(), ENAMETOOLONG, "bind", path);
  std::memcpy(address.sun_path, path.data(), path.size());
  int fd = socket(AF_UNIX, Int(info, 1, "type") | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw ErrnoError(info.Env(), errno, "socket", path);
  const char* step = "bind";
  int failed = bind(fd, reinterpret_cast<struct sockaddr*>(&address), sizeof address);
  if (failed == 0) {
    step = "listen";
    failed = listen(fd, 128);
  }
  if (failed == 0) return Napi::Number::New(info.Env(), fd);
  int err = errno;
  close(fd);
  throw ErrnoError(info.Env(), err, step, path);
}

// acceptUnix(fd) → descriptor of the connection, non-blocking, or undefined when nobody waits
Value AcceptUnix(const CallbackInfo& info) {
  int fd;
  do {
    fd = accept4(Fd(info, 0, "fd"), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return info.Env().Undefined();
  if (fd < 0) throw ErrnoError(info.Env(), errno, "accept4");
  return Napi::Number::New(info.Env(), fd);
}

// sendmsg(fd, data, fds) → bytes taken, or undefined when the socket is full
Value Sendmsg(const CallbackInfo& info) {
  Bytes data = ByteArray(info, 1, "data");
  std::vector<int> fds = Fds(info, 2, "fds");
  if (fds.size() > kMaxFds) throw ArgumentError(info.Env(), "fds", "at most 253 descriptors");
  struct iovec part = {const_cast<uint8_t*>(data.data), data.size};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  std::vector<char> control;
  if (!fds.empty()) {
    control.resize(CMSG_SPACE(sizeof(int) * fds.size()));
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t sent;
  do {
    sent = sendmsg(Fd(info, 0, "fd"), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return info.Env().Undefined();
  if (sent < 0) throw ErrnoError(info.Env(), errno, "sendmsg");
  return Napi::Number::New(info.Env(), static_cast<double>(sent));
}

// recvmsg(fd, maxBytes) → { data, fds, truncated }, or undefined when nothing is there
Value Recvmsg(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int64_t size = Integer(info, 1, "maxBytes");
  if (size < 1 || size > (1 << 24)) throw ArgumentError(env, "maxBytes", "between 1 and 16 MiB");
  static thread_local std::vector<uint8_t> buffer;
  if (buffer.size() < static_cast<size_t>(size)) buffer.resize(static_cast<size_t>(size));
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxFds)];
  struct iovec part = {buffer.data(), static_cast<size_t>(size)};
  struct msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t received;
  do {
    received = recvmsg(Fd(info, 0, "fd"), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (received < 0 && errno == EINTR);
  if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return env.Undefined();
  if (received < 0) throw ErrnoError(env, errno, "recvmsg");

  Napi::Array fds = Napi::Array::New(env);
  uint32_t count = 0;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t length = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < length; i++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
      fds.Set(count++, fd);
    }
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("data", Napi::Buffer<uint8_t>::Copy(env, buffer.data(), static_cast<size_t>(received)));
  result.Set("fds", fds);
  result.Set("truncated", (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0);
  return result;
}

Value PeerCredentials(const CallbackInfo& info) {
  struct ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(Fd(info, 0, "fd"), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
    throw ErrnoError(info.Env(), errno, "getsockopt(SO_PEERCRED)");
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("pid", peer.pid);
  result.Set("uid", peer.uid);
  result.Set("gid", peer.gid);
  return result;
}

Failure Reserve(int fd, int family, const struct sockaddr* address, socklen_t size, bool datagram) {
  int one = 1;
  if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) {
    return {errno, "setsockopt(IPV6_V6ONLY)", ""};
  }
  // A stream socket that does not listen takes nothing. A datagram socket would, so every datagram is filtered out.
  struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
  struct sock_fprog program = {1, &drop};
  if (datagram && setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0) {
    return {errno, "setsockopt(SO_ATTACH_FILTER)", ""};
  }
  if (bind(fd, address, size) < 0) return {errno, "bind", ""};
  return {};
}

struct Address {
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  };
  socklen_t size;

  int Family() const { return any.sa_family; }
  uint16_t Port() const { return ntohs(Family() == AF_INET ? v4.sin_port : v6.sin6_port); }
};

Address ParseAddress(Napi::Env env, const std::string& text, uint16_t port) {
  Address address = {};
  if (inet_pton(AF_INET, text.c_str(), &address.v4.sin_addr) == 1) {
    address.v4.sin_family = AF_INET;
    address.v4.sin_port = htons(port);
    address.size = sizeof address.v4;
  } else if (inet_pton(AF_INET6, text.c_str(), &address.v6.sin6_addr) == 1) {
    address.v6.sin6_family = AF_INET6;
    address.v6.sin6_port = htons(port);
    address.size = sizeof address.v6;
  } else {
    throw ArgumentError(env, "address", "an IP address");
  }
  return address;
}

Value SocketResult(Napi::Env env, int fd, const Address& address) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", fd);
  result.Set("port", address.Port());
  return result;
}

// bindPort(datagram, address, port) → { fd, port }
Value BindPort(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  bool datagram = Bool(info, 0, "datagram");
  std::string text = Path(info, 1, "address");
  auto port = static_cast<uint16_t>(Uint(info, 2, "port"));
  Address address = ParseAddress(env, text, port);
  std::string name = text + ":" + std::to_string(port);
  int fd = socket(address.Family(), (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
  if (fd < 0) throw ErrnoError(env, errno, "socket", name);
  Failure failure = Reserve(fd, address.Family(), &address.any, address.size, datagram);
  if (!failure && getsockname(fd, &address.any, &address.size) < 0) failure = {errno, "getsockname", ""};
  if (failure) {
    close(fd);
    throw ErrnoError(env, failure.err, failure.syscall, name);
  }
  return SocketResult(env, fd, address);
}

constexpr int kBacklog = 128;

// openSocket(netns, datagram, address, port, listen) → { fd, port }: bound, and listening when it is a stream and asked to
Value OpenSocket(const CallbackInfo& info) {
  Napi::Env env = info.Env();
  int netns = Int(info, 0, "netns");
  bool datagram = Bool(info, 1, "datagram");
  std::string text = Path(info, 2, "address");
  auto port = static_cast<uint16_t>(Uint(info, 3, "port"));
  bool listens = Bool(info, 4, "listen");
  Address address = ParseAddress(env, text, port);
  std::string name = text + ":" + std::to_string(port);
  int fd = -1;
  Failure failure = InNetworkNamespace(netns, [&]() -> Failure {
    int type = (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    fd = socket(address.Family(), type, 0);
    if (fd < 0) return {errno, "socket", ""};
    int one = 1;
    if (address.Family() == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) {
      return {errno, "setsockopt(IPV6_V6ONLY)", ""};
    }
    // connections of a server before this one, which linger, are no hindrance
    if (!datagram && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0) {
      return {errno, "setsockopt(SO_REUSEADDR)", ""};
    }
    if (bind(fd, &address.any, address.size) < 0) return {errno, "bind", ""};
    if (!datagram && listens && listen(fd, kBacklog) < 0) return {errno, "listen", ""};
    if (getsockname(fd, &address.any, &address.size) < 0) return {errno, "getsockname", ""};
    return {};
  });
  if (failure) {
    if (fd >= 0) close(fd);
    throw ErrnoError(env, failure.err, failure.syscall, name);
  }
  return SocketResult(env, fd, address);
}

}  // namespace

void InitSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("socketpair", Napi::Function::New<Socketpair>(env));
  exports.Set("connectUnix", Napi::Function::New<ConnectUnix>(env));
  exports.Set("listenUnix", Napi::Function::New<ListenUnix>(env));
  exports.Set("acceptUnix", Napi::Function::New<AcceptUnix>(env));
  exports.Set("sendmsg", Napi::Function::New<Sendmsg>(env));
  exports.Set("recvmsg", Napi::Function::New<Recvmsg>(env));
  exports.Set("bindPort", Napi::Function::New<BindPort>(env));
  exports.Set("openSocket", Napi::Function::New<OpenSocket>(env));
  exports.Set("peerCredentials", Napi::Function::New<PeerCredentials>(env));
}

}  // namespace tare
