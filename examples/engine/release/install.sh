#!/bin/sh
# Installs this release of Tare, or upgrades an older one: containers that run go on running.
#
#   install.sh [--prefix /usr/local] [--group docker] [--no-start]
#
# What it puts where:
#   PREFIX/lib/tare/<version>   the release, with its own Node.js; `current` is a link to the one in use
#   PREFIX/bin/tare             the command
#   /etc/systemd/system         tare.service and tare.socket, where there is systemd
#   /etc/tare                   daemon.json is yours; there is none at first
# uninstall.sh, in the release, takes all of it away again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
prefix=/usr/local
group=docker
start=yes
units=/etc/systemd/system

say() { printf '%s\n' "$*"; }
fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -gt 1 ] || fail "--prefix needs a directory"; prefix=$2; shift ;;
    --group) [ $# -gt 1 ] || fail "--group needs a name"; group=$2; shift ;;
    --no-start) start=no ;;
    -h | --help) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) fail "unknown option $1; see $0 --help" ;;
  esac
  shift
done

[ "$(id -u)" = 0 ] || fail "needs root: run it with sudo"
[ "$(uname -s)" = Linux ] || fail "containers need Linux; this is $(uname -s)"
[ -x "$here/node/bin/node" ] || fail "$here is no unpacked release: node/bin/node is missing"

version=$(cat "$here/VERSION")
root=$prefix/lib/tare
target=$root/$version

if ! getent group "$group" >/dev/null; then
  groupadd --system "$group" || fail "cannot make the group $group"
  made_group=$group
fi

say "Looking at this machine"
"$here/node/bin/node" "$here/engine/bin/tare.mjs" doctor --machine --quiet --group "$group" ||
  fail "containers cannot run here; nothing was installed"

say "Installing Tare $version to $target"
mkdir -p "$root" "$prefix/bin" /etc/tare
rm -rf "$target.new"
cp -R "$here" "$target.new"
# the same version once more: what is running from it keeps its files open
if [ -e "$target" ]; then
  rm -rf "$target.old"
  mv "$target" "$target.old"
fi
mv "$target.new" "$target"
rm -rf "$target.old"
[ -z "${made_group:-}" ] || printf '%s\n' "$made_group" >"$root/made-group"

previous=$(readlink "$root/current" || true)
ln -sfn "$version" "$root/current.new"
mv -T "$root/current.new" "$root/current"
sed "s|@ROOT@|$root|g" "$here/release/tare" >"$prefix/bin/.tare.new"
chmod 755 "$prefix/bin/.tare.new"
mv "$prefix/bin/.tare.new" "$prefix/bin/tare"
# the one before stays, to go back to; older ones go
for old in "$root"/*/; do
  old=$(basename "$old")
  case $old in current | "$version" | "$previous") ;; *) rm -rf "${root:?}/$old" ;; esac
done

if [ -d /run/systemd/system ] && command -v systemctl >/dev/null; then
  for unit in tare.service tare.socket; do
    sed -e "s|@BIN@|$prefix/bin|g" -e "s|@GROUP@|$group|g" "$here/release/$unit" >"$units/$unit"
  done
  systemctl daemon-reload
  systemctl enable --quiet tare.socket tare.service
  if systemctl is-active --quiet tare.service; then
    say "Restarting the daemon; containers go on running"
    systemctl restart tare.service
  elif [ "$start" = yes ]; then
    systemctl start tare.socket tare.service
  fi
  if [ "$start" = yes ]; then say "The daemon runs: systemctl status tare"; else say "Start it: systemctl start tare"; fi
  reload='systemctl reload tare'
else
  flags=
  [ "$group" = docker ] || flags=" --group $group"
  say "There is no systemd here: start the daemon with '$prefix/bin/tare daemon$flags &'"
  reload='kill -HUP $(cat /run/tare.pid)'
fi

say ""
say "Try it:            tare run hello-world"
say "Without sudo:      usermod -aG $group NAME, then log out and in again; who is in $group is as powerful as root"
say "A registry mirror: \"registry-mirrors\" in /etc/tare/daemon.json, then $reload"
say "Take it away:      $root/current/uninstall.sh"
