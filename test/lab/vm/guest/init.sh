#!/bin/sh
# Process 1 of the virtual machine. The checkout comes as a tar file on the second disk, with what to run in it; the third
# disk takes the result, the fourth is for temporary files.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
# as on most machines: a tmpfs of this kernel has neither user.* attributes nor mapped ids
mount -t ext4 /dev/vdd /tmp && chmod 1777 /tmp
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /repo
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd

# whoever waits for this machine may be gone: it ends by itself
limit=$(sed -n 's/.*tare\.limit=\([0-9]*\).*/\1/p' /proc/cmdline)
(sleep "$limit"; echo "the virtual machine has reached its limit of $limit s"; poweroff -f) &

tar -xf /dev/vdb -C /repo
# vite writes below node_modules
mkdir -p /repo/node_modules /run/upper /run/work
mount -t overlay -o lowerdir=/node_modules,upperdir=/run/upper,workdir=/run/work overlay /repo/node_modules
ip link set lo up
echo "Linux $(uname -r), ready after $(cut -d' ' -f1 /proc/uptime) s"
cd /repo && sh ./.vm/run
[ -e /run/result ] && dd if=/run/result of=/dev/vdc conv=fsync 2>/dev/null
poweroff -f
