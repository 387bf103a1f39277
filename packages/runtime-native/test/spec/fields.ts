/**
 * Every field of the runtime spec and the test that shows what becomes of it. `fields.test.ts` holds the table against
 * the schemas and the tests; a field without a test does not pass.
 */

/** `file: part of the title`; braces stand for several fields. */
export const FIELDS: Readonly<Record<string, string>> = {
  ociVersion: 'spec/config.test.ts: names the field that is wrong',
  annotations: '../src/testing/runtime-suite.ts: remembers the bundle and the annotations',
  'root.path': 'failures.root.test.ts: says that the root is missing',
  'root.readonly': 'isolation.root.test.ts: cannot write to a read-only root',
  '{hostname,domainname}': 'isolation.root.test.ts: has its own host name',

  'process.terminal': '../src/testing/runtime-suite.ts: gives a terminal with the size',
  'process.consoleSize.{height,width}': 'user-namespace.root.test.ts: has a terminal of the size in the spec',
  'process.user.{uid,gid,additionalGids}':
    'attacks.root.test.ts: is in the groups of the spec and in no others',
  'process.{args,env,cwd}':
    'isolation.root.test.ts: starts with the working directory, environment, umask and limits',
  'process.user.umask':
    'isolation.root.test.ts: starts with the working directory, environment, umask and limits',
  'process.rlimits[].{type,soft,hard}':
    'isolation.root.test.ts: starts with the working directory, environment, umask',
  'process.capabilities.{bounding,effective,permitted}':
    'isolation.root.test.ts: has exactly the capabilities of the spec',
  'process.capabilities.{inheritable,ambient}':
    'isolation.root.test.ts: has exactly the capabilities of the spec',
  'process.noNewPrivileges': 'isolation.root.test.ts: sets no_new_privs when asked',
  'process.{apparmorProfile,selinuxLabel}':
    'scheduling.root.test.ts: is refused a label of a security module that is not on',
  'process.oomScoreAdj': 'user-namespace.root.test.ts: has its clocks, host name, sysctls and OOM score',
  'process.scheduler.{policy,nice,priority}':
    'scheduling.root.test.ts: is scheduled by the policy, priority and niceness',
  'process.scheduler.{flags,runtime,deadline,period}': 'plan/scheduling.test.ts: takes all of a deadline',
  'process.ioPriority.{class,priority}': 'scheduling.root.test.ts: has the I/O priority of the spec',
  'process.execCPUAffinity.{initial,final}': 'scheduling.root.test.ts: runs an exec on the CPUs of the spec',

  'mounts[].{destination,type,source}': 'isolation.root.test.ts: binds directories and files of the host',
  'mounts[].options': 'container-mounts.root.test.ts: has every recursive attribute',
  'mounts[].{uidMappings,gidMappings}[].{containerID,hostID,size}':
    'container-mounts.root.test.ts: shows the ids of its own mappings',

  'hooks.{prestart,createRuntime,createContainer,startContainer,poststart,poststop}[].{path,args,env}':
    'hooks.root.test.ts: run in the order of the life, each in its namespaces',
  'hooks.{prestart,createRuntime,createContainer,startContainer,poststart,poststop}[].timeout':
    'hooks.root.test.ts: are killed with their session when their time is up',

  'linux.namespaces[].type': 'isolation.root.test.ts: has namespaces of its own',
  'linux.namespaces[].path': 'user-namespace.root.test.ts: joins the namespaces of another one',
  'linux.{uidMappings,gidMappings}[].{containerID,hostID,size}':
    'user-namespace.root.test.ts: has ids as mapped',
  'linux.timeOffsets[*].{secs,nanosecs}': 'scheduling.root.test.ts: has shifted clocks in a time namespace',
  'linux.devices[].{type,path,major,minor,fileMode,uid,gid}':
    'user-namespace.root.test.ts: may use the default devices',
  'linux.cgroupsPath': 'attacks.root.test.ts: names no cgroup outside those of the runtime',
  'linux.rootfsPropagation': 'container-mounts.root.test.ts: is the root with the propagation of the spec',
  'linux.sysctl': 'isolation.root.test.ts: takes sysctls of its namespaces and refuses those of the host',
  'linux.{maskedPaths,readonlyPaths}': 'isolation.root.test.ts: finds masked paths empty and read-only',
  'linux.mountLabel': 'scheduling.root.test.ts: is refused a label of a security module that is not on',
  'linux.personality.domain': 'scheduling.root.test.ts: sees the system calls of the personality',
  'linux.personality.flags': 'scheduling.root.test.ts: has the flags of the personality of the spec',
  'linux.memoryPolicy.{mode,nodes,flags}': 'scheduling.root.test.ts: has the memory policy of the spec',
  'linux.intelRdt.{closID,l3CacheSchema,memBwSchema,schemata}':
    'intel-rdt.test.ts: take the bandwidth of memory',
  'linux.intelRdt.enableMonitoring': 'intel-rdt.test.ts: are monitored apart',
  'linux.netDevices[*].name': 'net-devices.root.test.ts: has them under the names asked for',

  'linux.resources.devices[].{allow,type,major,minor,access}':
    'cgroups/cgroups.root.test.ts: denies devices on version 2',
  'linux.resources.memory.{limit,reservation,swap,swappiness,disableOOMKiller,useHierarchy}':
    'cgroups/cgroups.root.test.ts: takes every limit that version 1 has a file for',
  'linux.resources.memory.{kernel,kernelTCP}': 'cgroups/fields.test.ts: on memory of the kernel',
  'linux.resources.memory.checkBeforeUpdate':
    'cgroups/cgroups.root.test.ts: looks at the use of memory before it lowers',
  'linux.resources.cpu.{shares,quota,period,burst,cpus,mems,idle}':
    'cgroups/cgroups.root.test.ts: takes every limit that version 1 has a file for',
  'linux.resources.cpu.{realtimeRuntime,realtimePeriod}':
    'cgroups/fields.test.ts: on real-time processor time',
  'linux.resources.pids.limit': 'limits.root.test.ts: stops a fork bomb at the limit of processes',
  'linux.resources.blockIO.{weight,leafWeight}': 'cgroups/fields.test.ts: on the weight of block I/O',
  'linux.resources.blockIO.weightDevice[].{major,minor,weight,leafWeight}':
    'cgroups/fields.test.ts: on the weight of block',
  'linux.resources.blockIO.{throttleReadBpsDevice,throttleWriteBpsDevice,throttleReadIOPSDevice,throttleWriteIOPSDevice}[].{major,minor,rate}':
    'cgroups/cgroups.root.test.ts: takes every limit that version 1 has a file for',
  'linux.resources.hugepageLimits[].{pageSize,limit}': 'cgroups/cgroups.root.test.ts: limits huge pages',
  'linux.resources.network.classID': 'cgroups/fields.test.ts: on network classes and priorities',
  'linux.resources.network.priorities[].{name,priority}':
    'cgroups/fields.test.ts: on network classes and priorities',
  'linux.resources.rdma[*].{hcaHandles,hcaObjects}':
    'cgroups/fields.test.ts: on network classes and priorities, and on RDMA',
  'linux.resources.unified': 'cgroups/cgroups.root.test.ts: limits huge pages on version 2 beside version 1',

  'linux.seccomp.{defaultAction,defaultErrnoRet}':
    'seccomp/compile.test.ts: gives the default for what no rule names',
  'linux.seccomp.architectures':
    'seccomp/compile.test.ts: kills programs of an architecture that is not named',
  'linux.seccomp.flags': 'seccomp/compile.test.ts: knows the flags of seccomp(2)',
  'linux.seccomp.{listenerPath,listenerMetadata}':
    'seccomp-notify.root.test.ts: sends its listener to the agent',
  'linux.seccomp.syscalls[].{names,action,errnoRet}': 'seccomp/compile.test.ts: means what its rules say',
  'linux.seccomp.syscalls[].args[].{index,value,valueTwo,op}':
    'seccomp/compile.test.ts: means what its rules say',
};

/** A table's key as the fields that it stands for. */
export function expand(key: string): string[] {
  const braces = /\{([^{}]*)\}/.exec(key);
  if (!braces) return [key];
  const [before, after] = [key.slice(0, braces.index), key.slice(braces.index + braces[0].length)];
  return braces[1]!.split(',').flatMap((one) => expand(before + one + after));
}
