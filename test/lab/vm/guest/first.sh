#!/bin/busybox sh
# The first process, in the initial root: drivers for the disks, then on to the real root.
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox modprobe virtio_pci
/bin/busybox modprobe virtio_blk
/bin/busybox mount -t ext4 -o ro /dev/vda /root || exit
exec /bin/busybox switch_root /root /init
