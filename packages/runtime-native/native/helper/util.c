/* Reports, descriptors, small files. No stdio: the monitor stays small. */
#include "util.h"

#include <fcntl.h>
#include <stdio.h> /* renameat */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "message.h"

void close_fd(int *fd)
{
	int saved = errno;
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
	errno = saved;
}

void util_close_auto(int *fd)
{
	close_fd(fd);
}

static enum report_to reporter;
static int report_fd = -1;
static const char *current_stage = "start";

void report_with(enum report_to to, int fd)
{
	reporter = to;
	report_fd = fd;
}

void set_stage(const char *stage)
{
	current_stage = stage;
}

static size_t put_text(uint8_t *at, size_t room, const char *text)
{
	size_t length = text ? strnlen(text, room - 1) : 0;
	if (length)
		memcpy(at, text, length);
	at[length] = 0;
	return length + 1;
}

size_t encode_failure(uint8_t *buffer, int error, const char *stage, const char *call, const char *path)
{
	put_u32(buffer, (uint32_t)error);
	size_t size = 4;
	size += put_text(buffer + size, 128, stage);
	size += put_text(buffer + size, 128, call);
	/* PATH_MAX: the kernel takes no longer one */
	size += put_text(buffer + size, 4096, path);
	return size;
}

void die_status(int status, int error, const char *call, const char *path)
{
	/* one byte of kind, or a frame header, before the failure itself */
	uint8_t message[FRAME_HEADER_SIZE + FAILURE_MAX_SIZE];
	size_t offset = reporter == REPORT_CLIENT ? FRAME_HEADER_SIZE : 1;
	size_t size = encode_failure(message + offset, error, current_stage, call, path);
	if (reporter == REPORT_CLIENT)
		put_frame_header(message, FRAME_FAILED, 0, 0, (uint32_t)size);
	else
		message[0] = 'F';
	/* nobody is left to tell when this fails; the exit status says the rest */
	if (report_fd >= 0)
		(void)send(report_fd, message, offset + size, MSG_NOSIGNAL);
	_exit(status);
}

void die_with(int error, const char *call, const char *path)
{
	die_status(126, error, call, path);
}

void die(const char *call, const char *path)
{
	die_with(errno, call, path);
}

bool write_all(int fd, const void *data, size_t size)
{
	const char *at = data;
	while (size > 0) {
		ssize_t n = write(fd, at, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		at += n;
		size -= (size_t)n;
	}
	return true;
}

bool write_file(int dirfd, const char *name, const char *temporary, const void *data, size_t size)
{
	AUTO_FD fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return false;
	if (!write_all(fd, data, size))
		return false;
	return renameat(dirfd, temporary, dirfd, name) == 0;
}

void append(char *buffer, size_t size, const char *text)
{
	size_t length = strnlen(buffer, size);
	while (*text && length + 1 < size)
		buffer[length++] = *text++;
	if (length < size)
		buffer[length] = 0;
}

void append_number(char *buffer, size_t size, uint64_t value)
{
	char digits[21];
	char *at = digits + sizeof digits - 1;
	*at = 0;
	do
		*--at = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	append(buffer, size, at);
}

uint64_t start_time(int pid)
{
	char path[32] = "/proc/";
	append_number(path, sizeof path, (uint64_t)pid);
	append(path, sizeof path, "/stat");
	AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	char line[1024];
	ssize_t size = read(fd, line, sizeof line - 1);
	if (size <= 0)
		return 0;
	line[size] = 0;
	/* the command's name may hold spaces and parentheses: fields start after the last one */
	const char *at = strrchr(line, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at + 1, NULL, 10) : 0;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;
	(void)clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_realtime_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

uint64_t clock_monotonic_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000000;
}
