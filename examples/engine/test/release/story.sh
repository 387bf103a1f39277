#!/bin/sh
# The life of an installation, from the unpacked archive to its end, as a person would type it. Runs as root where nothing
# of Tare is installed, in a folder with one release in .cache/release and one in newer, docker-registry and its data in registry/. Says each
# step before it is tried; the last line is "all done".
set -eu
here=$(pwd)
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/root
step() { echo "step: $*"; }
die() {
  [ ! -e "$here/daemon.log" ] || tail -n 20 "$here/daemon.log"
  echo "FAILED: $*"
  exit 1
}
has_systemd() { [ -d /run/systemd/system ]; }

# Everything that installing might leave behind. What the system keeps of itself changes all the time; without systemd this
# is a busy machine, of which only what is hidden from others is still.
if has_systemd; then places='/etc /usr /var /run /root /opt'; else places='/etc /usr/local /var/lib /run'; fi
everything() {
  find $places -xdev \( -path /run/systemd -o -path /run/udev -o -path /run/log \
    -o -path /var/log -o -path /var/lib/systemd -o -path /run/utmp -o -path /etc/.pwd.lock -o -path /var/tmp \
    -o -path /etc/.updated -o -path /var/.updated -o -path /var/cache -o -path /run/credentials \
    -o -path "$here" \) -prune -o -print 2>/dev/null | grep -v '/\(group\|gshadow\|passwd\|shadow\|subuid\|subgid\)-$' | LC_ALL=C sort
}

start_daemon() {
  if has_systemd; then return; fi
  tare daemon 2>>"$here/daemon.log" &
  wait_for_daemon
}
stop_daemon() {
  if has_systemd; then
    systemctl stop tare.service tare.socket
  else
    daemon_pid=$(cat /run/tare.pid)
    kill "$daemon_pid"
    while kill -0 "$daemon_pid" 2>/dev/null; do sleep 0.1; done
  fi
}
wait_for_daemon() {
  tries=0
  until tare version >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || die "the daemon does not answer"
    sleep 0.2
  done
}

everything >"$here/before"

step "unpack and install"
tar -xzf .cache/release/tare-*.tar.gz
./tare-*/install.sh
rm -r tare-*
start_daemon
has_systemd && [ "$(stat -c '%a %G' /run/tare.sock)" != '660 docker' ] && die "$(stat -c '%a %G' /run/tare.sock)"
tare doctor --quiet

step "the daemon is a service"
if has_systemd; then
  [ "$(systemctl is-active tare.service tare.socket | tr '\n' ' ')" = 'active active ' ] || die "not active"
  systemctl show --property StatusText tare.service
fi

step "a mirror"
registry=127.0.0.1:5999
cat >registry.yml <<END
version: 0.1
storage: { filesystem: { rootdirectory: $here/registry } }
http: { addr: "$registry" }
END
./docker-registry serve registry.yml >registry.log 2>&1 &
registry_pid=$!
printf '{ "registry-mirrors": ["http://%s"] }\n' "$registry" >/etc/tare/daemon.json
if has_systemd; then systemctl reload tare; else
  stop_daemon
  start_daemon
fi
tare info --format '{{.RegistryConfig.Mirrors}}' | grep -q "$registry" || die "the mirror is not in use"

step "hello-world"
tare run --rm hello-world | grep 'Hello from Tare!'

step "a container that goes on"
tare run -d --name lasting --stop-timeout 1 --restart always -v kept:/data busybox sh -c 'echo here >/data/file; exec sleep 100000' >/dev/null
pid=$(tare inspect -f '{{.State.Pid}}' lasting)

step "another user, before and after joining the group"
if has_systemd; then
  useradd --create-home --shell /bin/sh guest
  as_guest() { setpriv --reuid guest --regid guest --init-groups env HOME=/home/guest "$@"; }
  as_guest tare ps 2>&1 | grep -q 'permission denied' || die "let in"
  usermod -aG docker guest
  as_guest tare ps -q | grep -q . || die "kept out"
  userdel --remove guest 2>/dev/null
fi

step "an upgrade, which the container does not notice"
tar -xzf newer/tare-*.tar.gz
if ! has_systemd; then stop_daemon; fi
./tare-*/install.sh
rm -r tare-*
start_daemon
wait_for_daemon
[ "$(tare inspect -f '{{.State.Pid}} {{.State.Running}}' lasting)" = "$pid true" ] || die "$(tare inspect lasting)"
tare exec lasting cat /data/file | grep -q here
readlink /usr/local/lib/tare/current

step "the daemon stops, the container goes on"
stop_daemon
kill -0 "$pid" || die "the container ended with the daemon"
if has_systemd; then
  # whoever comes to the socket starts the service
  systemctl start tare.socket
  tare ps --format '{{.Names}}' | grep -q lasting || die "not started by its socket"
else
  start_daemon
fi

step "uninstall, which keeps the data, and needs no daemon that runs"
has_systemd || stop_daemon
/usr/local/lib/tare/current/uninstall.sh
kill -0 "$pid" 2>/dev/null && die "the container still runs"
[ ! -e /usr/local/bin/tare ] || die "the command is still there"
[ -e /var/lib/tare/state.db ] || die "the data is gone"
[ -e /etc/tare/daemon.json ] || die "the configuration is gone"

step "install again: everything is still there"
tar -xzf newer/tare-*.tar.gz
./tare-*/install.sh >/dev/null
rm -r tare-*
start_daemon
wait_for_daemon
[ "$(tare ps -a --format '{{.Names}} {{.State}}')" = 'lasting exited' ] || die "$(tare ps -a)"
tare run --rm -v kept:/data busybox cat /data/file | grep -q here

step "uninstall and purge: nothing is left"
/usr/local/lib/tare/current/uninstall.sh --purge
kill "$registry_pid"
wait
everything >"$here/after"
diff "$here/before" "$here/after" || die "left behind"
has_systemd && systemctl list-unit-files | grep tare && die "units are still known"
ip -br link 2>/dev/null | grep -v '^lo' && die "links are still there"
find /sys/fs/cgroup -maxdepth 2 -name tare 2>/dev/null | grep . && has_systemd && die "cgroups are still there"
echo "all done"
