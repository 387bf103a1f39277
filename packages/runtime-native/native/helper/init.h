/*
 * The container's process before it becomes the container's program: it carries out phases 2 and 3 of the plan, in
 * order. Every step either succeeds or ends the process with a report, and the kernel undoes what its namespaces held.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

/* What the steps share. Descriptors are -1 until a step opens them; all of them are close-on-exec. */
struct init {
	/* to the monitor: SOCK_SEQPACKET */
	int sync;
	/* the container's root directory, O_PATH; every path inside the container is resolved from here */
	int root;
	/* a private procfs that nobody else can mount over */
	int proc;
	/* an empty directory `d` and an empty file `f`, read-only, to put over masked paths */
	int mask;
	/* not the container's process yet, but the one that makes it */
	bool stage;
	/* a tmpfs on the scratch directory in which the stage makes what it clones mounts of */
	int workshop;
	unsigned workshop_names;
	/* a user namespace whose ids the next mount gets, with the mounts below it or without */
	int idmap;
	bool idmap_recursive;
	/* the process whose namespaces an exec'd process joins */
	int target;
	/* an existing directory on the host that may be mounted over in this mount namespace */
	const char *scratch;
	/* mount trees cloned from the host and user namespaces of mappings, waiting for their place, by slot */
	int trees[PLAN_MAX_SLOTS];
};

/* Runs the plan to its end, which is the execution of the program. `stdio` becomes descriptors 0 to 2. */
__attribute__((noreturn)) void init_run(const struct plan *plan, int sync, int target, const int stdio[3]);

/* namespaces.c */
void join_cgroup(const char *tasks);
/* Joining a user namespace also makes its root of the process. */
void join_namespace(uint64_t kind, const char *path);
void join_target(struct init *init, uint64_t kinds);
void new_cgroup_namespace(void);
void loopback_up(void);
void set_hostname(const char *name);
void set_domainname(const char *name);

/* userns.c */
void new_user_namespace(struct cursor fields);
/* The first user of the process's user namespace, if it has one; dies. */
void become_namespace_root(void);
/* While true, the process's files in procfs are its user's, who may be nobody special. */
void own_proc_files(bool own);

/* stage.c: what the stage does and its child cannot, for it has no power outside its user namespace any more */
void make_child(struct init *init, uint64_t namespaces);
void stdio_owner(uint32_t uid, uint32_t gid);
void private_mounts(void);
void new_time_namespace(const char *offsets);
/* A name that is new in the workshop, of at most 24 bytes; makes the workshop; dies. */
void workshop_name(struct init *init, char *name);
/* What a slot holds, which the caller owns now; dies when it is empty. */
int take_slot(struct init *init, uint32_t slot);

/* rootfs.c: resolution inside the container's root, never outside it */
enum node { NODE_DIRECTORY, NODE_FILE };
/* Opens `path` in the root; -1 with errno. `resolve` adds RESOLVE_ flags to IN_ROOT and NO_MAGICLINKS. */
int open_in_root(const struct init *init, const char *path, uint64_t flags, uint64_t resolve);
/* As open_in_root with O_PATH, making what is missing: directories 0755, at the end what `node` says. */
int make_in_root(const struct init *init, const char *path, enum node node, uint64_t resolve);
/* Opens the directory that holds `path`, making it when missing, and sets *name to the last component; dies. */
int open_parent(const struct init *init, const char *path, const char **name);
/*
 * Puts the mount over a directory of this mount namespace, mostly "/". Paths of the host still resolve below it, until
 * the pivot; dies.
 */
void attach_root(struct init *init, int mount, const char *place, const char *path);
void root_from_tree(struct init *init, uint32_t slot, uint64_t attributes, const char *place);
void pivot(struct init *init);
void change_root(const struct init *init);
void root_propagation(uint32_t propagation);
void root_joined(struct init *init);

/* overlay.c */
void root_from_overlay(struct init *init, struct list layers, struct list options, uint64_t attributes);
void overlay_tree(struct init *init, struct cursor fields);

/* mounts.c */
void open_tree_slot(struct init *init, uint32_t slot, const char *path, bool recursive);
void inherited_propagation(uint32_t propagation);
void mount_new(struct init *init, struct cursor fields);
void mount_tree(struct init *init, struct cursor fields);
void mount_bind(struct init *init, struct cursor fields);
void mount_attributes(struct init *init, struct cursor fields);
void mask_path(struct init *init, const char *path);
void readonly_path(struct init *init, const char *path);
/* A new, detached mount of `type`; dies. */
int new_mount(const char *type, const char *source, struct list options, uint64_t attributes);
void configure(int context, struct list options);
void attach_mount(int mount, int place, const char *path);

/* idmap.c */
void open_id_map(struct init *init, uint32_t slot, const char *uids, const char *gids);
void map_next_mount(struct init *init, uint32_t slot, bool recursive);
void map_tree(struct init *init, uint32_t slot, uint32_t map, bool recursive, const char *place);
/* Gives a detached mount the ids of a user namespace; dies. */
void map_mount(int mount, int ids, bool recursive, const char *path);
/* Gives a detached mount the ids that map_next_mount has asked for, if it has; dies. */
void apply_idmap(struct init *init, int mount, const char *path);

/* copyup.c */
/* Copies what the directory `place` holds to a detached mount; dies. */
void copy_up(int place, int mount, const char *path);

/* devices.c */
void make_device(struct init *init, struct cursor fields);
void device_tree(struct init *init, struct cursor fields);
void host_device(struct init *init, struct cursor fields);
void make_directory(struct init *init, const char *path);
void make_symlink(struct init *init, const char *target, const char *path);

/* terminal.c */
void make_terminal(struct init *init, uint32_t owner, bool console);
bool send_descriptor(int socket, char kind, int fd);
bool send_fd(int socket, const void *data, size_t size, int fd);

/* init.c */
/* The process is killed when its monitor dies. */
void end_with_monitor(void);
/* A process of its own: neither session nor keys of whoever made it. */
void stand_alone(void);

/* limits.c */
/* Opens a path of a procfs that is attached nowhere, so that nobody can have mounted over it; dies. */
int open_private_proc(struct init *init, const char *path, uint64_t flags);
void write_sysctl(struct init *init, const char *name, const char *value);
void write_oom_score(struct init *init, const char *value);
/* Writes to a file of /proc/self/attr what execve shall make of the process. */
void write_exec_label(struct init *init, const char *file, const char *label);
void set_limit(uint32_t resource, uint64_t soft, uint64_t hard);
/* Raises the hard limit to `hard`, unless it is higher. */
void limit_room(uint32_t resource, uint64_t hard);

/* scheduling.c */
void set_affinity(struct bytes cpus);
void set_io_priority(uint32_t priority);
void set_scheduler(struct cursor fields);
void set_memory_policy(uint32_t mode, struct bytes nodes);
void set_personality(uint32_t persona);

/* user.c */
void working_directory(const struct init *init, const char *path);
void become_user(uint32_t uid, uint32_t gid, struct bytes groups, uint32_t flags);

/* caps.c */
void limit_bounding_set(uint64_t mask);
void set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable);
void raise_ambient_set(uint64_t mask);
void no_new_privileges(void);

/* seccomp.c */
void load_filter(const struct init *init, uint32_t flags, struct bytes program);

/* hooks.c: runs a program to its end, and dies with what it said unless it has ended well */
void run_hook(struct cursor fields);

/* program.c */
__attribute__((noreturn)) void execute(struct list arguments, struct list environment);
/* Dies as execute would when there is no such program. */
void look_up(const char *name, const char *path);
/* The strings of a list as execve takes them; dies. */
char **pointers(struct list list);
/* Signals as a new program expects them. */
void reset_signals(void);
