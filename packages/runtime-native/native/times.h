// Times as JavaScript has them.
#pragma once

#include <sys/stat.h>

#include <cstdint>

namespace tare {

/// Floor division, so that times before 1970 keep nanoseconds between 0 and 999999999.
inline struct timespec TimeSpec(int64_t nanoseconds) {
  constexpr int64_t second = 1'000'000'000;
  int64_t seconds = nanoseconds / second;
  int64_t rest = nanoseconds % second;
  if (rest < 0) {
    rest += second;
    seconds -= 1;
  }
  struct timespec time;
  time.tv_sec = seconds;
  time.tv_nsec = rest;
  return time;
}

}  // namespace tare
