/*
 * The kernel's interface as far as this program uses it: structures, constants, raw system calls. Own definitions,
 * because musl-gcc sees no kernel headers and old distributions have old ones. Numbers are ABI and never change.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* openat2(2) */
struct tare_open_how {
	uint64_t flags;
	uint64_t mode;
	uint64_t resolve;
};
#define TARE_RESOLVE_NO_XDEV 0x01u
#define TARE_RESOLVE_NO_MAGICLINKS 0x02u
#define TARE_RESOLVE_NO_SYMLINKS 0x04u
#define TARE_RESOLVE_BENEATH 0x08u
#define TARE_RESOLVE_IN_ROOT 0x10u

/* clone3(2) */
struct tare_clone_args {
	uint64_t flags;
	uint64_t pidfd;
	uint64_t child_tid;
	uint64_t parent_tid;
	uint64_t exit_signal;
	uint64_t stack;
	uint64_t stack_size;
	uint64_t tls;
	uint64_t set_tid;
	uint64_t set_tid_size;
	uint64_t cgroup;
};
#define TARE_CLONE_PIDFD 0x00001000ull
#define TARE_CLONE_PARENT 0x00008000ull
#define TARE_CLONE_NEWTIME 0x00000080ull
#define TARE_CLONE_NEWNS 0x00020000ull
#define TARE_CLONE_NEWCGROUP 0x02000000ull
#define TARE_CLONE_NEWUTS 0x04000000ull
#define TARE_CLONE_NEWIPC 0x08000000ull
#define TARE_CLONE_NEWUSER 0x10000000ull
#define TARE_CLONE_NEWPID 0x20000000ull
#define TARE_CLONE_NEWNET 0x40000000ull
#define TARE_CLONE_INTO_CGROUP 0x200000000ull

/* mount API: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2) */
struct tare_mount_attr {
	uint64_t attr_set;
	uint64_t attr_clr;
	uint64_t propagation;
	uint64_t userns_fd;
};
#define TARE_FSOPEN_CLOEXEC 1u
#define TARE_FSMOUNT_CLOEXEC 1u
#define TARE_FSCONFIG_SET_FLAG 0u
#define TARE_FSCONFIG_SET_STRING 1u
#define TARE_FSCONFIG_CMD_CREATE 6u
#define TARE_OPEN_TREE_CLONE 1u
#define TARE_MOVE_MOUNT_F_EMPTY_PATH 0x04u
#define TARE_MOVE_MOUNT_T_EMPTY_PATH 0x40u
#define TARE_MOUNT_ATTR_RDONLY 0x01u
#define TARE_MOUNT_ATTR_NOSUID 0x02u
#define TARE_MOUNT_ATTR_NODEV 0x04u
#define TARE_MOUNT_ATTR_NOEXEC 0x08u
#define TARE_MOUNT_ATTR_IDMAP 0x00100000u
#define TARE_AT_RECURSIVE 0x8000u
#define TARE_AT_EMPTY_PATH 0x1000u

/* capset(2), version 3: two words per set */
struct tare_cap_header {
	uint32_t version;
	int32_t pid;
};
struct tare_cap_data {
	uint32_t effective;
	uint32_t permitted;
	uint32_t inheritable;
};
#define TARE_CAPABILITY_VERSION_3 0x20080522u

/* seccomp(2) */
struct tare_filter {
	uint16_t code;
	uint8_t jt;
	uint8_t jf;
	uint32_t k;
};
struct tare_filter_program {
	uint16_t length;
	const struct tare_filter *filter;
};
#define TARE_SECCOMP_SET_MODE_FILTER 1u
#define TARE_SECCOMP_NEW_LISTENER 8u
#define TARE_CLONE_FILES 0x00000400ull

/* sched_setattr(2), as of Linux 5.3 */
struct tare_sched_attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
	uint32_t util_min;
	uint32_t util_max;
};

/* PIDFD_GET_INFO, as of Linux 6.15 */
struct tare_pidfd_info {
	uint64_t mask;
	uint64_t cgroup;
	uint32_t ids[11];
	int32_t exit_code;
};
#define TARE_PIDFD_INFO_EXIT 8u
#define TARE_PIDFD_GET_INFO 0xc040ff0bu

/* memfd_create(2) */
#define TARE_MFD_CLOEXEC 1u

#define TARE_CLOSE_RANGE_CLOEXEC 4u
#define TARE_KEYCTL_JOIN_SESSION_KEYRING 1
#define TARE_P_PIDFD 3
#define TARE_TIOCGPTPEER 0x5441

/* f_type of fstatfs(2) */
#define TARE_PROC_MAGIC 0x9fa0
#define TARE_DEVPTS_MAGIC 0x1cd1

/* The same on every architecture: calls added after Linux 4.20. */
enum {
	TARE_SYS_OPEN_TREE = 428,
	TARE_SYS_MOVE_MOUNT = 429,
	TARE_SYS_FSOPEN = 430,
	TARE_SYS_FSCONFIG = 431,
	TARE_SYS_FSMOUNT = 432,
	TARE_SYS_PIDFD_SEND_SIGNAL = 424,
	TARE_SYS_PIDFD_OPEN = 434,
	TARE_SYS_CLONE3 = 435,
	TARE_SYS_CLOSE_RANGE = 436,
	TARE_SYS_OPENAT2 = 437,
	TARE_SYS_MOUNT_SETATTR = 442,
};

static inline int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct tare_open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
	return (int)syscall(TARE_SYS_OPENAT2, dirfd, path, &how, sizeof how);
}

static inline pid_t sys_clone3(struct tare_clone_args *args)
{
	return (pid_t)syscall(TARE_SYS_CLONE3, args, sizeof *args);
}

static inline int sys_open_tree(int dirfd, const char *path, unsigned flags)
{
	return (int)syscall(TARE_SYS_OPEN_TREE, dirfd, path, flags);
}

static inline int sys_move_mount(int from, const char *from_path, int to, const char *to_path, unsigned flags)
{
	return (int)syscall(TARE_SYS_MOVE_MOUNT, from, from_path, to, to_path, flags);
}

static inline int sys_fsopen(const char *type, unsigned flags)
{
	return (int)syscall(TARE_SYS_FSOPEN, type, flags);
}

static inline int sys_fsconfig(int fd, unsigned command, const char *key, const void *value, int aux)
{
	return (int)syscall(TARE_SYS_FSCONFIG, fd, command, key, value, aux);
}

static inline int sys_fsmount(int fd, unsigned flags, unsigned attributes)
{
	return (int)syscall(TARE_SYS_FSMOUNT, fd, flags, attributes);
}

static inline int sys_mount_setattr(int dirfd, const char *path, unsigned flags, const struct tare_mount_attr *attr)
{
	return (int)syscall(TARE_SYS_MOUNT_SETATTR, dirfd, path, flags, attr, sizeof *attr);
}

static inline int sys_pidfd_open(pid_t pid)
{
	return (int)syscall(TARE_SYS_PIDFD_OPEN, pid, 0);
}

static inline int sys_pidfd_send_signal(int pidfd, int signal)
{
	return (int)syscall(TARE_SYS_PIDFD_SEND_SIGNAL, pidfd, signal, NULL, 0);
}

static inline int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return (int)syscall(TARE_SYS_CLOSE_RANGE, first, last, flags);
}
