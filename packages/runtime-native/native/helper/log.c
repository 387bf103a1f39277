/*
 * Writes Docker's json-file log: one {"log","stream","time"} object a line, byte for byte as Docker has it, so that its
 * readers (and people's log shippers) see no difference.
 *
 * A line of output longer than 16 KiB becomes several entries; all but the last lack the line feed at the end of "log",
 * and all carry the time of the first.
 */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h> /* renameat */
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define LINE_SIZE 16384u
#define OUT_SIZE 32768u

struct line {
	uint8_t bytes[LINE_SIZE];
	size_t size;
	/* nanoseconds; of the first part of a line whose parts are being written */
	uint64_t time;
	bool continued;
};

/* apart from the rest, which is all zeros at first and so takes no room in the program */
static int log_dir = -1;
static int log_fd = -1;

static struct {
	char name[NAME_MAX + 1];
	uint64_t size;
	uint64_t max_size;
	uint32_t max_files;
	struct line lines[2];
	uint8_t out[OUT_SIZE];
	size_t used;
	/* the text of the last second that was formatted */
	uint64_t second;
	char date[32];
} the_log;

static void open_file(int flags)
{
	log_fd = openat(log_dir, the_log.name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0640);
}

void log_open(const char *path, uint64_t max_size, uint32_t max_files)
{
	char directory[PATH_MAX] = "/";
	const char *slash = strrchr(path, '/');
	if (!slash || strlen(slash + 1) >= sizeof the_log.name || (size_t)(slash - path) >= sizeof directory)
		die_with(EINVAL, "open", path);
	if (slash > path) {
		memcpy(directory, path, (size_t)(slash - path));
		directory[slash - path] = 0;
	}
	memcpy(the_log.name, slash + 1, strlen(slash + 1) + 1);
	log_dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (log_dir < 0)
		die("open", directory);
	open_file(0);
	struct stat status;
	if (log_fd < 0 || fstat(log_fd, &status) < 0)
		die("open", path);
	the_log.size = (uint64_t)status.st_size;
	the_log.max_size = max_size;
	the_log.max_files = max_files ? max_files : 1;
}

/* A full disk loses entries rather than stop the container; the next write may work again. */
static void flush(void)
{
	if (the_log.used && log_fd >= 0)
		(void)write_all(log_fd, the_log.out, the_log.used);
	the_log.used = 0;
}

static void numbered(char *name, size_t size, uint32_t number, const char *suffix)
{
	name[0] = 0;
	append(name, size, the_log.name);
	if (number) {
		append(name, size, ".");
		append_number(name, size, number);
	}
	append(name, size, suffix);
}

/* Old files may have been compressed meanwhile: each is there under one of two names. */
static const char *const SUFFIXES[] = {"", ".gz"};

static void rotate(void)
{
	flush();
	/* somebody gives a file that was compressed its name: the next entry comes back to this */
	if (log_fd >= 0 && flock(log_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return;
	char from[NAME_MAX + 16];
	char to[NAME_MAX + 16];
	for (uint32_t i = the_log.max_files - 1; i > 0; i--) {
		for (int j = 0; j < 2; j++) {
			numbered(to, sizeof to, i, SUFFIXES[j]);
			(void)unlinkat(log_dir, to, 0);
		}
		for (int j = 0; j < 2; j++) {
			numbered(from, sizeof from, i - 1, SUFFIXES[j]);
			numbered(to, sizeof to, i, SUFFIXES[j]);
			if (i > 1 || j == 0)
				(void)renameat(log_dir, from, log_dir, to);
		}
	}
	/* which lets go of the lock */
	close_fd(&log_fd);
	open_file(the_log.max_files == 1 ? O_TRUNC : 0);
	the_log.size = 0;
}

static void put(const void *data, size_t size)
{
	if (the_log.used + size > OUT_SIZE)
		flush();
	memcpy(the_log.out + the_log.used, data, size);
	the_log.used += size;
	the_log.size += size;
}

static void put_string(const char *text)
{
	put(text, strlen(text));
}

/* The length of the UTF-8 sequence at `at`; 0 when it is none by the rules of Unicode table 3-7. */
static size_t sequence(const uint8_t *at, size_t left)
{
	uint8_t first = at[0];
	uint8_t low = 0x80;
	uint8_t high = 0xbf;
	size_t length;
	if (first >= 0xc2 && first <= 0xdf)
		length = 2;
	else if ((first & 0xf0) == 0xe0)
		length = 3;
	else if (first >= 0xf0 && first <= 0xf4)
		length = 4;
	else
		return 0;
	if (first == 0xe0)
		low = 0xa0; /* overlong */
	else if (first == 0xed)
		high = 0x9f; /* surrogates */
	else if (first == 0xf0)
		low = 0x90; /* overlong */
	else if (first == 0xf4)
		high = 0x8f; /* beyond U+10FFFF */
	if (left < length || at[1] < low || at[1] > high)
		return 0;
	for (size_t i = 2; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static bool plain(uint8_t byte)
{
	return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\' && byte != '<' && byte != '>' && byte != '&';
}

static void put_escaped(uint8_t byte)
{
	static const char DIGITS[] = "0123456789abcdef";
	char escape[] = {'\\', 'u', '0', '0', DIGITS[byte >> 4], DIGITS[byte & 15]};
	if (byte == '"' || byte == '\\')
		put((char[]){'\\', (char)byte}, 2);
	else if (byte == '\n')
		put("\\n", 2);
	else if (byte == '\r')
		put("\\r", 2);
	else
		put(escape, sizeof escape);
}

/* As Go's encoding/json writes strings: HTML characters and line separators escaped, each invalid byte as U+FFFD. */
static void put_json(const uint8_t *at, size_t size)
{
	const uint8_t *end = at + size;
	while (at < end) {
		const uint8_t *start = at;
		while (at < end && plain(*at))
			at++;
		if (at > start)
			put(start, (size_t)(at - start));
		if (at == end)
			break;
		if (*at < 0x80) {
			put_escaped(*at++);
			continue;
		}
		size_t length = sequence(at, (size_t)(end - at));
		if (length == 3 && at[0] == 0xe2 && at[1] == 0x80 && (at[2] & 0xfe) == 0xa8)
			put_string(at[2] == 0xa8 ? "\\u2028" : "\\u2029");
		else if (length)
			put(at, length);
		else
			put_string("\\ufffd");
		at += length ? length : 1;
	}
}

/* RFC 3339 with nanoseconds, zeros at the end of the fraction left out. */
static void put_time(uint64_t nanoseconds)
{
	uint64_t second = nanoseconds / 1000000000;
	if (second != the_log.second || !the_log.date[0]) {
		time_t at = (time_t)second;
		struct tm tm;
		(void)gmtime_r(&at, &tm);
		int parts[] = {tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec};
		static const char *const AFTER[] = {"-", "-", "T", ":", ":", ""};
		the_log.date[0] = 0;
		for (int i = 0; i < 6; i++) {
			if (parts[i] < 10)
				append(the_log.date, sizeof the_log.date, "0");
			append_number(the_log.date, sizeof the_log.date, (uint64_t)parts[i]);
			append(the_log.date, sizeof the_log.date, AFTER[i]);
		}
		the_log.second = second;
	}
	put_string(the_log.date);
	uint32_t fraction = (uint32_t)(nanoseconds % 1000000000);
	if (fraction) {
		char digits[10] = ".";
		for (int i = 9; i > 0; i--, fraction /= 10)
			digits[i] = (char)('0' + fraction % 10);
		size_t length = sizeof digits;
		while (digits[length - 1] == '0')
			length--;
		put(digits, length);
	}
	put_string("Z");
}

static void put_entry(enum stream stream, const uint8_t *text, size_t size, bool line_feed, uint64_t time)
{
	if (the_log.max_size && the_log.size >= the_log.max_size)
		rotate();
	put_string("{\"log\":\"");
	put_json(text, size);
	if (line_feed)
		put_string("\\n");
	put_string(stream == STREAM_STDERR ? "\",\"stream\":\"stderr\",\"time\":\"" : "\",\"stream\":\"stdout\",\"time\":\"");
	put_time(time);
	put_string("\"}\n");
}

static void end_line(enum stream stream, const uint8_t *text, size_t size)
{
	struct line *line = &the_log.lines[stream];
	put_entry(stream, text, size, true, line->continued ? line->time : clock_realtime_ns());
	line->continued = false;
	line->size = 0;
}

static void put_part(enum stream stream, struct line *line)
{
	if (!line->continued)
		line->time = clock_realtime_ns();
	put_entry(stream, line->bytes, line->size, false, line->time);
	line->continued = true;
	line->size = 0;
}

void log_write(enum stream stream, const uint8_t *data, size_t size)
{
	if (log_dir < 0)
		return;
	/* after a failed rotation */
	if (log_fd < 0)
		open_file(0);
	struct line *line = &the_log.lines[stream];
	const uint8_t *end = data + size;
	while (data < end) {
		size_t room = LINE_SIZE - line->size;
		size_t left = (size_t)(end - data);
		const uint8_t *feed = memchr(data, '\n', left < room ? left : room);
		if (feed && line->size == 0) {
			end_line(stream, data, (size_t)(feed - data));
			data = feed + 1;
			continue;
		}
		size_t taken = feed ? (size_t)(feed - data) : left < room ? left : room;
		memcpy(line->bytes + line->size, data, taken);
		line->size += taken;
		data += taken;
		if (feed) {
			end_line(stream, line->bytes, line->size);
			data++;
		} else if (line->size == LINE_SIZE) {
			put_part(stream, line);
		}
	}
	flush();
}

void log_finish(void)
{
	if (log_dir < 0)
		return;
	for (int i = 0; i < 2; i++)
		if (the_log.lines[i].size)
			put_part((enum stream)i, &the_log.lines[i]);
	flush();
	close_fd(&log_fd);
	close_fd(&log_dir);
}
