/* What every part of the helper leans on: dying with a report, descriptors that close themselves, whole writes. */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor that is closed when its variable goes out of scope. Keep one by setting the variable to -1. */
#define AUTO_FD __attribute__((cleanup(util_close_auto))) int

void util_close_auto(int *fd);

/* Closes *fd unless it is -1, and sets it to -1. Never changes errno. */
void close_fd(int *fd);

/*
 * Who hears of a failure before this process ends: a stream socket to the client that made the container (frames), or
 * the seqpacket socket to the monitor (one message). Set once per role.
 */
enum report_to { REPORT_CLIENT, REPORT_MONITOR };
void report_with(enum report_to to, int fd);

/* The step in hand, for reports: a name that outlives the step. */
void set_stage(const char *stage);

/* Reports {stage, call, path, errno} and ends the process. `path` may be NULL. */
__attribute__((noreturn)) void die(const char *call, const char *path);
__attribute__((noreturn)) void die_with(int error, const char *call, const char *path);
/* As die, with the exit status to leave behind. */
__attribute__((noreturn)) void die_status(int status, int error, const char *call, const char *path);

/* Encodes a failure as FRAME_FAILED carries it. Returns the number of bytes; too long strings are cut. */
#define FAILURE_MAX_SIZE 4608u
size_t encode_failure(uint8_t *buffer, int error, const char *stage, const char *call, const char *path);

/* Writes or reads everything, whatever the kernel does in pieces. False with errno set, or errno 0 at an early end. */
bool write_all(int fd, const void *data, size_t size);

/*
 * Writes `name` in directory `dirfd` by way of `temporary`, so that a reader sees nothing or all of it. It is not
 * made to last: what a runtime keeps means nothing after a reboot.
 */
bool write_file(int dirfd, const char *name, const char *temporary, const void *data, size_t size);

/* Field 22 of /proc/PID/stat: start time in clock ticks after boot; 0 when the process is gone. */
uint64_t start_time(int pid);

/* Appends to a NUL-terminated string in a buffer of `size` bytes; cuts what does not fit. */
void append(char *buffer, size_t size, const char *text);
void append_number(char *buffer, size_t size, uint64_t value);

uint64_t clock_realtime_ns(void);
uint64_t clock_monotonic_ms(void);
