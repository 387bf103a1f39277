#!/bin/sh
# Takes Tare away: stops its containers and the daemon, and removes everything that install.sh and the daemon have made,
# but not the data.
#
#   uninstall.sh [--purge]
#
#   --purge   also images, containers, volumes and the configuration: /var/lib/tare and /etc/tare
set -eu

purge=no
units=/etc/systemd/system
case ${1:-} in
  '') ;;
  --purge) purge=yes ;;
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  *) printf 'uninstall.sh: unknown option %s; see %s --help\n' "$1" "$0" >&2; exit 1 ;;
esac
[ "$(id -u)" = 0 ] || { printf 'uninstall.sh: needs root: run it with sudo\n' >&2; exit 1; }

# PREFIX/lib/tare/<version>/uninstall.sh
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(dirname "$here")
prefix=$(dirname "$(dirname "$root")")
tare=$prefix/bin/tare
[ "$(basename "$root")" = tare ] && [ -f "$here/VERSION" ] ||
  { printf 'uninstall.sh: %s is no installed release; run the one in lib/tare/current\n' "$here" >&2; exit 1; }

answers() { "$tare" version >/dev/null 2>&1; }

# containers outlive a daemon, and only a daemon takes them down
if ! answers && [ -d /run/tare ]; then
  "$tare" daemon >/dev/null 2>&1 &
  started=$!
  tries=0
  while ! answers && kill -0 "$started" 2>/dev/null && [ "$((tries += 1))" -lt 200 ]; do sleep 0.1; done
fi
if answers; then
  # restart policies must not bring them back
  for id in $("$tare" ps -aq); do "$tare" update --restart no "$id" >/dev/null; done
  for id in $("$tare" ps -q); do "$tare" stop "$id" >/dev/null && echo "Stopped container $id"; done
  [ "$purge" = no ] || for id in $("$tare" ps -aq); do "$tare" rm -fv "$id" >/dev/null; done
fi

if command -v systemctl >/dev/null && [ -e "$units/tare.service" ]; then
  systemctl disable --now --quiet tare.service tare.socket || true
  rm -f "$units/tare.service" "$units/tare.socket"
  systemctl daemon-reload
  systemctl reset-failed tare.service tare.socket 2>/dev/null || true
fi
if [ -e /run/tare.pid ]; then
  pid=$(cat /run/tare.pid)
  # of a killed daemon the number may be another program's by now
  tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q 'tare\.mjs' && kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
fi

# of containers that no daemon could take down
while read -r _ place _; do
  case $place in /run/tare/*) umount -l "$place" ;; esac
done </proc/mounts
rm -rf /run/tare /run/tare.sock /run/tare.pid
if [ "$purge" = yes ]; then rm -rf /var/lib/tare /etc/tare; fi
rmdir /etc/tare 2>/dev/null || true
if [ -e "$root/made-group" ]; then groupdel "$(cat "$root/made-group")" 2>/dev/null || true; fi
rm -f "$tare"
cd /
rm -rf "$root"

if [ "$purge" = yes ] || [ ! -e /var/lib/tare ]; then
  echo "Tare is gone."
else
  echo "Tare is gone. Images, containers and volumes are still in /var/lib/tare; --purge takes them too."
fi
