/* Interprets phases 2 and 3 of a launch plan: one case per operation, one function call per case. */
#include "init.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kernel.h"
#include "monitor.h"
#include "util.h"

/* Too big for a stack frame; there is one container per process. */
static struct init the_init;

/* Says that it has come so far, and waits to be let on. */
static void wait_at_gate(const struct init *init, const char *arrival)
{
	char answer = 0;
	if (send(init->sync, arrival, 1, MSG_NOSIGNAL) != 1)
		_exit(126);
	ssize_t size;
	do
		size = recv(init->sync, &answer, 1, 0);
	while (size < 0 && errno == EINTR);
	/* the monitor is gone, and with it whoever could read our output */
	if (size != 1 || answer != 'S')
		_exit(126);
}

void end_with_monitor(void)
{
	/* the parent of an orphan is not the monitor, and ends long before */
	if (!(the_monitor.flags & STDIO_ORPHAN) && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		die("prctl", "PR_SET_PDEATHSIG");
}

void stand_alone(void)
{
	if (setsid() < 0)
		die("setsid", NULL);
	/* the keys of the caller's session are not the container's business */
	if (!(the_monitor.flags & STDIO_KEYRING))
		(void)syscall(SYS_keyctl, TARE_KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0);
}

/* As its own pipes would: the user may open /dev/stdout again. */
static void own_stdio(uint32_t uid)
{
	struct stat status;
	for (int i = 0; i < 3; i++)
		/* never a device, which others use too; what cannot be given away stays as it is */
		if (fstat(i, &status) == 0 && !S_ISCHR(status.st_mode) && !S_ISREG(status.st_mode)) {
			int ignored = fchown(i, uid, (gid_t)-1);
			(void)ignored;
		}
}

static void run_operation(struct init *init, uint16_t code, struct cursor f)
{
	switch ((enum operation)code) {
	case OP_STDIO:
	case OP_LOG:
	case OP_NAMESPACES:
	case OP_PID_NAMESPACE:
	case OP_CGROUP_BIRTH:
	case OP_OOM_EVENTS:
	case OP_TARGET:
	case OP_PARENT_AFFINITY:
	case OP_SECCOMP_LISTENER:
	case OP_STAGE:
		return; /* the monitor's */
	case OP_CGROUP_JOIN:
		return join_cgroup(read_string(&f));
	case OP_NAMESPACE_JOIN: {
		uint32_t kind = read_u32(&f);
		return join_namespace(kind, read_string(&f));
	}
	case OP_CGROUP_NAMESPACE:
		return new_cgroup_namespace();
	case OP_LOOPBACK_UP:
		return loopback_up();
	case OP_TARGET_JOIN:
		return join_target(init, read_u32(&f));
	case OP_STDIO_OWNER: {
		uint32_t uid = read_u32(&f);
		return stdio_owner(uid, read_u32(&f));
	}
	case OP_USER_NAMESPACE:
		return new_user_namespace(f);
	case OP_CHILD:
		return make_child(init, read_u32(&f));
	case OP_LIMIT_ROOM: {
		uint32_t resource = read_u32(&f);
		return limit_room(resource, read_u64(&f));
	}
	case OP_PRIVATE_MOUNTS:
		return private_mounts();
	case OP_TIME_OFFSETS:
		return new_time_namespace(read_string(&f));
	case OP_MAP_TREE: {
		uint32_t slot = read_u32(&f);
		uint32_t map = read_u32(&f);
		bool recursive = read_u32(&f) != 0;
		return map_tree(init, slot, map, recursive, read_string(&f));
	}
	case OP_MOUNT_TREE:
		return mount_tree(init, f);
	case OP_OVERLAY_TREE:
		return overlay_tree(init, f);
	case OP_DEVICE_TREE:
		return device_tree(init, f);
	case OP_HOST_DEVICE:
		return host_device(init, f);
	case OP_ROOT_JOINED:
		return root_joined(init);
	case OP_TREE_OPEN: {
		uint32_t slot = read_u32(&f);
		const char *path = read_string(&f);
		return open_tree_slot(init, slot, path, read_u32(&f) != 0);
	}
	case OP_INHERITED_PROPAGATION:
		return inherited_propagation(read_u32(&f));
	case OP_SCRATCH:
		init->scratch = read_string(&f);
		return;
	case OP_ROOT_OVERLAY: {
		struct list layers = read_list(&f);
		struct list options = read_list(&f);
		return root_from_overlay(init, layers, options, read_u64(&f));
	}
	case OP_ROOT_TREE: {
		uint32_t slot = read_u32(&f);
		uint64_t attributes = read_u64(&f);
		return root_from_tree(init, slot, attributes, read_string(&f));
	}
	case OP_MOUNT:
		return mount_new(init, f);
	case OP_BIND:
		return mount_bind(init, f);
	case OP_ID_MAP: {
		uint32_t slot = read_u32(&f);
		const char *uids = read_string(&f);
		return open_id_map(init, slot, uids, read_string(&f));
	}
	case OP_MAPPED: {
		uint32_t slot = read_u32(&f);
		return map_next_mount(init, slot, read_u32(&f) != 0);
	}
	case OP_ATTRIBUTES:
		return mount_attributes(init, f);
	case OP_DIRECTORY:
		return make_directory(init, read_string(&f));
	case OP_SYMLINK: {
		const char *target = read_string(&f);
		return make_symlink(init, target, read_string(&f));
	}
	case OP_DEVICE:
		return make_device(init, f);
	case OP_MASK:
		return mask_path(init, read_string(&f));
	case OP_READONLY:
		return readonly_path(init, read_string(&f));
	case OP_TERMINAL: {
		uint32_t owner = read_u32(&f);
		return make_terminal(init, owner, read_u32(&f) != 0);
	}
	case OP_PIVOT:
		return pivot(init);
	case OP_ROOT_PROPAGATION:
		return root_propagation(read_u32(&f));
	case OP_SYSCTL: {
		const char *name = read_string(&f);
		return write_sysctl(init, name, read_string(&f));
	}
	case OP_HOSTNAME:
		return set_hostname(read_string(&f));
	case OP_DOMAINNAME:
		return set_domainname(read_string(&f));
	case OP_OOM_SCORE:
		return write_oom_score(init, read_string(&f));
	case OP_AFFINITY:
		return set_affinity(read_bytes(&f));
	case OP_IO_PRIORITY:
		return set_io_priority(read_u32(&f));
	case OP_SCHEDULER:
		return set_scheduler(f);
	case OP_MEMORY_POLICY: {
		uint32_t mode = read_u32(&f);
		return set_memory_policy(mode, read_bytes(&f));
	}
	case OP_EXEC_LABEL: {
		const char *file = read_string(&f);
		return write_exec_label(init, file, read_string(&f));
	}
	case OP_RLIMIT: {
		uint32_t resource = read_u32(&f);
		uint64_t soft = read_u64(&f);
		return set_limit(resource, soft, read_u64(&f));
	}
	case OP_BOUNDING:
		return limit_bounding_set(read_u64(&f));
	case OP_WORKING_DIRECTORY:
		return working_directory(init, read_string(&f));
	case OP_USER: {
		uint32_t uid = read_u32(&f);
		uint32_t gid = read_u32(&f);
		if (the_monitor.flags & STDIO_INHERIT && !(the_monitor.flags & STDIO_TERMINAL))
			own_stdio(uid);
		struct bytes groups = read_bytes(&f);
		return become_user(uid, gid, groups, read_u32(&f));
	}
	case OP_UMASK:
		(void)umask(read_u32(&f) & 0777);
		return;
	case OP_PERSONALITY:
		return set_personality(read_u32(&f));
	case OP_CAPABILITIES: {
		uint64_t effective = read_u64(&f);
		uint64_t permitted = read_u64(&f);
		return set_capabilities(effective, permitted, read_u64(&f));
	}
	case OP_AMBIENT:
		return raise_ambient_set(read_u64(&f));
	case OP_GATE:
		return wait_at_gate(init, "R");
	case OP_PROGRAM: {
		const char *name = read_string(&f);
		return look_up(name, read_string(&f));
	}
	case OP_CHANGE_ROOT:
		return change_root(init);
	case OP_RUNTIME_HOOKS:
		return wait_at_gate(init, "H");
	case OP_CREATE_HOOK:
	case OP_START_HOOK:
		return run_hook(f);
	case OP_NO_NEW_PRIVILEGES:
		return no_new_privileges();
	case OP_SECCOMP: {
		uint32_t flags = read_u32(&f);
		return load_filter(init, flags, read_bytes(&f));
	}
	case OP_EXEC: {
		struct list arguments = read_list(&f);
		execute(arguments, read_list(&f));
	}
	}
}

void init_run(const struct plan *plan, int sync, int target, const int stdio[3])
{
	struct init *init = &the_init;
	*init = (struct init){.sync = sync, .root = -1, .proc = -1, .mask = -1, .idmap = -1, .target = target};
	init->workshop = -1;
	init->stage = the_monitor.staged;
	memset(init->trees, -1, sizeof init->trees);
	report_with(REPORT_MONITOR, sync);

	/* the output of a container without a monitor goes nowhere and its exit is never told: let it end too */
	set_stage("init");
	end_with_monitor();
	stand_alone();
	(void)umask(0);
	for (int i = 0; i < 3; i++)
		if (stdio[i] >= 0 && dup2(stdio[i], i) < 0)
			die("dup2", NULL);

	struct cursor cursor = plan_begin(plan);
	struct operation_at operation;
	while (plan_next(plan, &cursor, &operation)) {
		set_stage(operation_name(operation.code));
		run_operation(init, operation.code, operation.fields);
	}
	/* plan_check has seen to it that the last operation executes a program */
	__builtin_unreachable();
}
