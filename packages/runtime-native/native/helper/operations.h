/*
 * The operations of a launch plan: name, number, fields. src/plan/operations.ts mirrors this table, and a test compares
 * the two (`tare-init --operations`).
 *
 * Fields: u = 32-bit number, q = 64-bit number, s = string, b = bytes, l = list of strings.
 * The high byte of the number is the phase; phases come in this order in a plan.
 *   1  done or noted by the monitor, before the container's process exists
 *   2  done by the container's process, as root with every capability, up to its root file system
 *   3  done by the container's process: giving up power, waiting at the start gate, becoming the program
 */
#pragma once

#define OPERATIONS(X)                                                                                                \
	/* flags (STDIO_*), columns, rows */                                                                         \
	X(STDIO, 0x101, "uuu")                                                                                       \
	/* path, size in bytes after which it rotates (0: never), number of files */                                 \
	X(LOG, 0x102, "squ")                                                                                         \
	/* clone flags of the new namespaces */                                                                      \
	X(NAMESPACES, 0x103, "u")                                                                                    \
	/* path of a pid namespace, which holds for children only */                                                 \
	X(PID_NAMESPACE, 0x104, "s")                                                                                 \
	/* directory of a cgroup of version 2 to be born in */                                                       \
	X(CGROUP_BIRTH, 0x105, "s")                                                                                  \
	/* file that counts the OOM kills of the cgroup */                                                           \
	X(OOM_EVENTS, 0x106, "s")                                                                                    \
	/* pid, start time in clock ticks: the container that an exec'd process joins */                             \
	X(TARGET, 0x107, "uq")                                                                                       \
	/* CPUs on which the monitor runs, and the process until it is in its cgroup: a bit mask */                  \
	X(PARENT_AFFINITY, 0x110, "b")                                                                               \
	/* socket that gets the listener of the filter, state up to the container's pid, that pid (0: the process's own) */ \
	X(SECCOMP_LISTENER, 0x112, "ssu")                                                                            \
	/* the process that is made first is the stage: it carries out phase 2 up to CHILD, which makes the other one */ \
	X(STAGE, 0x113, "")                                                                                          \
	/* a `tasks` file of a cgroup of version 1 */                                                                \
	X(CGROUP_JOIN, 0x201, "s")                                                                                   \
	/* clone flag of the kind, path of a namespace to join */                                                    \
	X(NAMESPACE_JOIN, 0x202, "us")                                                                               \
	X(CGROUP_NAMESPACE, 0x203, "")                                                                               \
	X(LOOPBACK_UP, 0x204, "")                                                                                    \
	/* clone flags of the target's namespaces to join */                                                         \
	X(TARGET_JOIN, 0x205, "u")                                                                                   \
	/* uid and gid, as the host has them, that own the pipes of stdio */                                         \
	X(STDIO_OWNER, 0x206, "uu")                                                                                  \
	/* flags (USER_*), lines of uid_map and of gid_map, programs that write these (empty: write them oneself) */ \
	X(USER_NAMESPACE, 0x207, "ussss")                                                                            \
	/* clone flags of the new namespaces: the container's process goes on from here, and the stage ends */       \
	X(CHILD, 0x208, "u")                                                                                         \
	/* resource, value that its hard limit has to allow */                                                       \
	X(LIMIT_ROOM, 0x209, "uq")                                                                                   \
	/* a mount namespace of the stage's own */                                                                   \
	X(PRIVATE_MOUNTS, 0x20a, "")                                                                                 \
	/* offsets of the clocks, as /proc/PID/timens_offsets takes them, in a new time namespace for the child */   \
	X(TIME_OFFSETS, 0x20b, "s")                                                                                  \
	/* slot, path on the host, whether with the mounts below it */                                               \
	X(TREE_OPEN, 0x210, "usu")                                                                                   \
	/* slot, lines of uid_map and of gid_map */                                                                  \
	X(ID_MAP, 0x217, "uss")                                                                                      \
	/* slot of a tree, slot of the ids that it gets, whether with the mounts below it */                         \
	X(MAP_TREE, 0x219, "uuus")                                                                                   \
	/* slot, type, source, options, attributes: a new file system, to be put in its place later */               \
	X(MOUNT_TREE, 0x21a, "usslq")                                                                                \
	/* slot, layers from the top down, further options, attributes, directory that holds those of the options, */ \
	/* slot of the ids that the layers get plus 1, or 0; uid and gid that own what the overlay makes for itself */ \
	X(OVERLAY_TREE, 0x21b, "ullqsuuu")                                                                           \
	/* slot, mode with type, major, minor, uid, gid: a new device node */                                        \
	X(DEVICE_TREE, 0x21c, "uuuuuu")                                                                              \
	/* slot, path of a device node of the host, mode with type, major, minor that it has to have */              \
	X(HOST_DEVICE, 0x21d, "usuuu")                                                                               \
	/* propagation of every mount inherited from the host */                                                     \
	X(INHERITED_PROPAGATION, 0x211, "u")                                                                         \
	/* an existing directory on the host that may be mounted over */                                             \
	X(SCRATCH, 0x212, "s")                                                                                       \
	/* layers from the top down, further options as key=value or flag, mount attributes */                       \
	X(ROOT_OVERLAY, 0x213, "llq")                                                                                \
	/* slot, attributes to set, directory on the host to attach it to until the pivot */                         \
	X(ROOT_TREE, 0x214, "uqs")                                                                                   \
	/* the root of a mount namespace that was joined, as it is */                                                \
	X(ROOT_JOINED, 0x215, "")                                                                                    \
	/* type, source, destination, options, attributes, propagation, flags (MOUNT_*) */                           \
	X(MOUNT, 0x220, "ssslquu")                                                                                   \
	/* slot, destination, attributes to set and clear, the same recursively, propagation, flags */               \
	X(BIND, 0x221, "usqqqquu")                                                                                   \
	/* slot of an ID_MAP that the next MOUNT or BIND gets, whether with the mounts below it */                   \
	X(MAPPED, 0x229, "uu")                                                                                       \
	/* path of a mount, attributes to set and clear, flags (AT_RECURSIVE) */                                     \
	X(ATTRIBUTES, 0x222, "sqqu")                                                                                 \
	/* path: made with what is missing above it */                                                                           \
	X(DIRECTORY, 0x223, "s")                                                                                    \
	/* target, path */                                                                                           \
	X(SYMLINK, 0x224, "ss")                                                                                      \
	/* path, mode with type, major, minor, uid, gid */                                                           \
	X(DEVICE, 0x225, "suuuuu")                                                                                   \
	X(MASK, 0x226, "s")                                                                                          \
	X(READONLY, 0x227, "s")                                                                                      \
	/* uid of the owner, whether to bind it on /dev/console */                                                   \
	X(TERMINAL, 0x228, "uu")                                                                                     \
	/* waits until the maker has run the hooks of the runtime's namespaces */                                    \
	X(RUNTIME_HOOKS, 0x22a, "")                                                                                  \
	/* index, path on the host, arguments, environment, state up to its pid, time limit in ms (0: none) */       \
	X(CREATE_HOOK, 0x22b, "usllsu")                                                                              \
	/* instead of a pivot, where that is not possible: the old root stays below the new one */                   \
	X(CHANGE_ROOT, 0x22c, "")                                                                                    \
	X(PIVOT, 0x230, "")                                                                                          \
	/* propagation of the new root */                                                                            \
	X(ROOT_PROPAGATION, 0x231, "u")                                                                              \
	/* path below /proc/sys, value */                                                                            \
	X(SYSCTL, 0x232, "ss")                                                                                       \
	X(HOSTNAME, 0x233, "s")                                                                                      \
	X(DOMAINNAME, 0x234, "s")                                                                                    \
	/* decimal number */                                                                                         \
	X(OOM_SCORE, 0x235, "s")                                                                                     \
	/* CPUs as a bit mask */                                                                                     \
	X(AFFINITY, 0x240, "b")                                                                                      \
	/* class and priority as ioprio_set(2) has them */                                                           \
	X(IO_PRIORITY, 0x241, "u")                                                                                   \
	/* policy, nice, priority, flags (SCHED_FLAG_*), runtime, deadline and period in nanoseconds */              \
	X(SCHEDULER, 0x242, "uuuqqqq")                                                                               \
	/* mode with its flags, nodes as a bit mask */                                                               \
	X(MEMORY_POLICY, 0x243, "ub")                                                                                \
	/* file in /proc/self/attr, label that the program gets */                                                   \
	X(EXEC_LABEL, 0x244, "ss")                                                                                   \
	X(PERSONALITY, 0x245, "u")                                                                                   \
	/* resource, soft limit, hard limit */                                                                       \
	X(RLIMIT, 0x301, "uqq")                                                                                      \
	/* mask of the bounding set */                                                                               \
	X(BOUNDING, 0x302, "q")                                                                                      \
	X(WORKING_DIRECTORY, 0x303, "s")                                                                             \
	/* uid, gid, further gids as 32-bit numbers, flags (USER_*) */                                               \
	X(USER, 0x304, "uubu")                                                                                        \
	X(UMASK, 0x305, "u")                                                                                         \
	/* effective, permitted, inheritable */                                                                      \
	X(CAPABILITIES, 0x306, "qqq")                                                                                \
	X(AMBIENT, 0x307, "q")                                                                                       \
	/* name of the program, directories to look for it: fails as EXEC would */                                   \
	X(PROGRAM, 0x30d, "ss")                                                                                      \
	X(GATE, 0x308, "")                                                                                           \
	/* as CREATE_HOOK, with a path in the container */                                                           \
	X(START_HOOK, 0x30c, "usllsu")                                                                               \
	X(NO_NEW_PRIVILEGES, 0x309, "")                                                                              \
	/* flags, classic BPF program */                                                                             \
	X(SECCOMP, 0x30a, "ub")                                                                                      \
	/* arguments, environment */                                                                                 \
	X(EXEC, 0x30b, "ll")

enum operation {
#define X(name, number, fields) OP_##name = (number),
	OPERATIONS(X)
#undef X
};

/* STDIO */
#define STDIO_TERMINAL 1u
#define STDIO_OPEN_STDIN 2u
#define STDIO_STDIN_ONCE 4u
/* do not read output before the first client has attached */
#define STDIO_HOLD 8u
/* start at once: there is no client that would open the gate */
#define STDIO_AUTOSTART 16u
/* descriptors 0 to 2 are the process's own: no pipes, nobody attaches */
#define STDIO_INHERIT 32u
/* the terminal's master goes to the socket that is the first of the further descriptors: nobody attaches */
#define STDIO_CONSOLE 64u
/* the process is a child of the monitor's maker, and of whoever reaps that one's orphans */
#define STDIO_ORPHAN 128u
/* the session keyring is the caller's */
#define STDIO_KEYRING 256u

/* USER_NAMESPACE, USER: nobody in there may call setgroups(2), as the kernel demands of who is not privileged outside */
#define USER_DENY_SETGROUPS 1u

/* MOUNT and BIND */
#define MOUNT_NO_SYMLINKS 1u
/* the destination is a file */
#define MOUNT_ONTO_FILE 2u
/* the destination may lie in procfs (a short list in the compiler) */
#define MOUNT_OVER_PROC 4u
/* fill it with what it covers; read-only comes after that */
#define MOUNT_COPY_UP 8u
/* only a procfs goes there, and nothing that looks like one */
#define MOUNT_PROC 16u
