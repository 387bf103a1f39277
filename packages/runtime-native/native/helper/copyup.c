/* Fills a new file system with what the directory that it will cover holds (the mount option tmpcopyup). */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init.h"
#include "util.h"

/* Deeper than any path can be named. */
#define MAX_DEPTH 256

static void copy_directory(int from, int to, const char *path, int depth);

static void copy_content(int from, int to, const char *path)
{
	static char buffer[65536];
	for (;;) {
		ssize_t size = read(from, buffer, sizeof buffer);
		if (size < 0)
			die("read", path);
		if (size == 0)
			return;
		if (!write_all(to, buffer, (size_t)size))
			die("write", path);
	}
}

/* Owner first: changing it takes the set-id bits off. */
static void copy_attributes(int to, const struct stat *status, const char *path)
{
	if (fchown(to, status->st_uid, status->st_gid) < 0)
		die("fchown", path);
	if (fchmod(to, status->st_mode & 07777) < 0)
		die("fchmod", path);
	const struct timespec times[2] = {status->st_atim, status->st_mtim};
	if (futimens(to, times) < 0)
		die("futimens", path);
}

static void copy_link(int from, int to, const char *name, const struct stat *status)
{
	char target[PATH_MAX];
	ssize_t length = readlinkat(from, name, target, sizeof target - 1);
	if (length < 0)
		die("readlinkat", name);
	target[length] = 0;
	if (symlinkat(target, to, name) < 0)
		die("symlinkat", name);
	if (fchownat(to, name, status->st_uid, status->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		die("fchownat", name);
}

static void copy_entry(int from, int to, const char *name, int depth)
{
	struct stat status;
	if (fstatat(from, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		die("fstatat", name);
	if (S_ISLNK(status.st_mode))
		return copy_link(from, to, name, &status);
	if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode)) {
		if (mknodat(to, name, status.st_mode, status.st_rdev) < 0)
			die("mknodat", name);
		if (fchownat(to, name, status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
			die("fchownat", name);
		return;
	}
	/* the image may be changing: what was a file a moment ago may be a link or a FIFO by now */
	AUTO_FD source = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (source < 0)
		die("openat", name);
	if (S_ISREG(status.st_mode)) {
		AUTO_FD copy = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (copy < 0)
			die("openat", name);
		copy_content(source, copy, name);
		copy_attributes(copy, &status, name);
		return;
	}
	if (mkdirat(to, name, 0700) < 0)
		die("mkdirat", name);
	AUTO_FD copy = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (copy < 0)
		die("openat", name);
	copy_directory(source, copy, name, depth + 1);
	copy_attributes(copy, &status, name);
}

static void copy_directory(int from, int to, const char *path, int depth)
{
	if (depth > MAX_DEPTH)
		die_with(ELOOP, "openat", path);
	int own = fcntl(from, F_DUPFD_CLOEXEC, 3);
	DIR *directory = own < 0 ? NULL : fdopendir(own);
	if (!directory)
		die("fdopendir", path);
	struct dirent *entry;
	while ((errno = 0, entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			copy_entry(from, to, entry->d_name, depth);
	if (errno)
		die("readdir", path);
	(void)closedir(directory);
}

void copy_up(int place, int mount, const char *path)
{
	AUTO_FD from = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (from < 0)
		die("openat", path);
	AUTO_FD to = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		die("openat", path);
	copy_directory(from, to, path, 0);
}
