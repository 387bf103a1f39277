/**
 * The default system-call filter of containers: what Docker 28 allows, as data.
 *
 * An allow-list. Left out are calls that reach beyond the container or into rarely used, often attacked parts of the
 * kernel (io_uring, keyrings, userfaultfd, kexec, swap, …); capabilities bring back those that they are about.
 */
import type { LinuxSeccomp } from '../spec/index.ts';
import { architecturesOf } from './architectures.ts';

type Rule = NonNullable<LinuxSeccomp['syscalls']>[number];

/** Allowed to everybody, by what they are for. Names that an architecture does not have are passed over. */
const ALWAYS = `
  read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek readahead
  sendfile sendfile64 splice tee vmsplice copy_file_range
  open openat openat2 creat close close_range dup dup2 dup3 pipe pipe2 fcntl fcntl64 flock ioctl umask
  stat lstat fstat stat64 lstat64 fstat64 fstatat64 newfstatat statx statfs fstatfs statfs64 fstatfs64
  access faccessat faccessat2 readlink readlinkat getdents getdents64 getcwd chdir fchdir
  mkdir mkdirat mknod mknodat rmdir link linkat symlink symlinkat unlink unlinkat rename renameat renameat2
  chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat chown32 fchown32 lchown32
  truncate ftruncate truncate64 ftruncate64 fallocate fadvise64 fadvise64_64 cachestat
  utime utimes futimesat utimensat utimensat_time64
  sync syncfs fsync fdatasync sync_file_range
  getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat
  listxattr llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat
  name_to_handle_at statmount listmount
  inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark

  select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64
  epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2
  eventfd eventfd2 signalfd signalfd4
  io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64

  brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall
  remap_file_pages memfd_create memfd_secret mseal map_shadow_stack membarrier
  pkey_alloc pkey_free pkey_mprotect process_mrelease

  fork vfork execve execveat exit exit_group wait4 waitid waitpid
  getpid getppid gettid getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal
  kill tkill tgkill pause restart_syscall
  rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
  rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn uretprobe
  futex futex_time64 futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list
  set_tid_address set_thread_area get_thread_area rseq
  prctl seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self capget capset

  getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
  setgroups setfsuid setfsgid
  getuid32 geteuid32 getgid32 getegid32 getresuid32 getresgid32 getgroups32 setuid32 setgid32 setreuid32 setregid32
  setresuid32 setresgid32 setgroups32 setfsuid32 setfsgid32

  getrlimit setrlimit ugetrlimit prlimit64 getrusage getpriority setpriority ioprio_get ioprio_set getcpu
  sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam
  sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min
  sched_rr_get_interval sched_rr_get_interval_time64

  time times gettimeofday adjtimex alarm nanosleep getitimer setitimer
  clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep clock_nanosleep_time64
  clock_adjtime clock_adjtime64
  timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64
  timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
  uname sysinfo getrandom riscv_hwprobe

  socketcall socketpair bind connect listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt
  send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64

  ipc msgget msgctl msgrcv msgsnd semget semctl semop semtimedop semtimedop_time64 shmget shmctl shmat shmdt
  mq_open mq_unlink mq_notify mq_getsetattr
  mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64

  ptrace process_vm_readv process_vm_writev
`;

/** Allowed on one kind of machine, by `process.arch`. */
const BY_MACHINE: Readonly<Record<string, string>> = {
  x64: 'arch_prctl modify_ldt',
  arm64: 'arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls',
};

/** Allowed to holders of a capability. */
const BY_CAPABILITY: Readonly<Record<string, string>> = {
  CAP_DAC_READ_SEARCH: 'open_by_handle_at',
  CAP_SYS_ADMIN: `
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie
    lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree
    perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`,
  CAP_SYS_BOOT: 'reboot',
  CAP_SYS_CHROOT: 'chroot',
  CAP_SYS_MODULE: 'delete_module finit_module init_module',
  CAP_SYS_PACCT: 'acct',
  CAP_SYS_PTRACE: 'kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace',
  CAP_SYS_RAWIO: 'ioperm iopl',
  CAP_SYS_TIME: 'clock_settime clock_settime64 settimeofday stime',
  CAP_SYS_TTY_CONFIG: 'vhangup',
  CAP_SYS_NICE: 'get_mempolicy mbind set_mempolicy set_mempolicy_home_node',
  CAP_SYSLOG: 'syslog',
  CAP_BPF: 'bpf',
  CAP_PERFMON: 'perf_event_open',
};

/** Linux, Linux32, their variants without address randomisation, and "which one is it?". */
const PERSONALITIES = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/** CLONE_NEW* of every namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. */
const NAMESPACE_FLAGS = 0x7e02_0000;
/** Kernel crypto, whose page-cache writes were exploited in 2026. */
const AF_ALG = 38;
/** Virtual machine sockets, which no namespace separates. */
const AF_VSOCK = 40;
const AF_MAX = 46;
const ENOSYS = 38;

/** For whom the filter is. */
export interface DefaultSeccompOptions {
  /** Names (`CAP_…`) of the capabilities that the process will have in its bounding set. Default: none. */
  capabilities?: readonly string[];
  /** The machine, as `process.arch` has it. Default: this one. */
  arch?: string;
}

/**
 * The default profile for a process.
 *
 * @throws {RuntimeError} `UNSUPPORTED` on a machine that is neither x86-64 nor arm64
 */
export function defaultSeccompProfile(options: DefaultSeccompOptions = {}): LinuxSeccomp {
  const { capabilities = [], arch = process.arch } = options;
  const architectures = [...architecturesOf(arch)];
  const held = new Set(capabilities);
  const granted = Object.entries(BY_CAPABILITY).flatMap(([capability, names]) =>
    held.has(capability) ? words(names) : [],
  );
  const syscalls: Rule[] = [
    { names: [...words(ALWAYS), ...words(BY_MACHINE[arch] ?? ''), ...granted], action: 'SCMP_ACT_ALLOW' },
    ...socketRules(),
    ...PERSONALITIES.map((value) => allowWhen('personality', { index: 0, op: 'SCMP_CMP_EQ', value })),
  ];
  if (!held.has('CAP_SYS_ADMIN')) {
    syscalls.push(
      allowWhen('clone', { index: 0, op: 'SCMP_CMP_MASKED_EQ', value: NAMESPACE_FLAGS, valueTwo: 0 }),
      // its flags are behind a pointer; with this answer C libraries take clone instead
      { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    );
  }
  return { defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 1, architectures, syscalls };
}

/**
 * Address families one by one, or as "below": the kernel looks at the low half of the argument only, so that "not this
 * one" could be passed with something in the high half.
 */
function socketRules(): Rule[] {
  const rules = [allowWhen('socket', { index: 0, op: 'SCMP_CMP_LT', value: AF_ALG })];
  for (let value = AF_ALG + 1; value < AF_MAX; value++) {
    if (value !== AF_VSOCK) rules.push(allowWhen('socket', { index: 0, op: 'SCMP_CMP_EQ', value }));
  }
  return rules;
}

function allowWhen(name: string, condition: NonNullable<Rule['args']>[number]): Rule {
  return { names: [name], action: 'SCMP_ACT_ALLOW', args: [condition] };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}
