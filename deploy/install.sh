#!/usr/bin/env bash
# Puts jetpose on this machine as a service, or takes it away. Again: upgrades; configuration and state stay.
#
#   sudo deploy/install.sh                       from this checkout
#   sudo deploy/install.sh --wheel FILE          from a wheel
#   sudo deploy/install.sh --uninstall [--purge] --purge: with /etc/jetpose, /var/lib/jetpose and the user
#
#   --python FILE   Python of the environment; on a Jetson it must be the system's, which has TensorRT
#   --extras LIST   parts to install                              [default: cpu,live, and gpu where there is nvcc]
#   --skip PART     environment, accounts; something else makes them
#   --dry-run       say what would be done
#   DESTDIR=DIR     into the root file system DIR, without starting anything
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${DESTDIR:-}
prefix=/opt/jetpose
python=/usr/bin/python3 wheel='' extras='' action=install purge=false dry=false scratch=''
declare -A skip=()
trap 'rm -rf "$scratch"' EXIT

usage() { sed -n '2,/^set/{/^# \{0,1\}/s///p}' "${BASH_SOURCE[0]}"; }
fail() { echo "install.sh: $*" >&2; exit "${status:-1}"; }

while [ $# -gt 0 ]; do
  case $1 in
    --wheel | --python | --extras)
      [ $# -ge 2 ] || status=2 fail "$1: a value is missing"
      printf -v "${1#--}" %s "$2"; shift ;;
    --skip)
      [[ ${2:-} =~ ^(environment|accounts)$ ]] || status=2 fail "--skip: got ${2:-nothing}, wanted environment or accounts"
      skip[$2]=1; shift ;;
    --uninstall) action=uninstall ;;
    --purge) purge=true ;;
    --dry-run) dry=true ;;
    -h | --help) usage; exit ;;
    *) status=2 fail "got $1; --help lists the options" ;;
  esac
  shift
done
! $purge || [ $action = uninstall ] || status=2 fail "--purge goes with --uninstall"
if [ -z "$root" ] && ! $dry && [ "$(id -u)" != 0 ]; then fail "wants root: sudo $0"; fi
if [ -z "$root" ] && [ -e /var/lib/dpkg/info/jetpose.list ]; then
  fail "jetpose is installed as a package here: apt-get install ./jetpose_*.deb upgrades it, apt-get remove removes it"
fi

run() { if $dry; then printf '%s\n' "$*"; else "$@"; fi; }
live() { [ -z "$root" ] && { $dry || [ -d /run/systemd/system ]; }; }  # a systemd that is to be told
put() { run install -D -m "$1" "$here/$2" "$root$3"; }

units=(pose-build@.service pose-run@.service)
unit_folder=/usr/lib/systemd/system rule=/usr/lib/udev/rules.d/60-jetpose.rules users=/usr/lib/sysusers.d/jetpose.conf
example=/etc/jetpose/camera.toml

environment() {
  local there="$root$prefix" from=$wheel
  if [ -z "$extras" ]; then
    extras=cpu,live
    if [ -x /usr/local/cuda/bin/nvcc ] || command -v nvcc > /dev/null; then extras=cpu,gpu,live; fi
  fi
  export PATH="/usr/local/cuda/bin:$PATH"  # for the kernels and pycuda
  run "$python" -m venv --system-site-packages "$there"
  local pip=("$there/bin/python" -m pip --disable-pip-version-check --quiet)
  if [ -z "$from" ]; then
    scratch=$(mktemp -d)
    run "${pip[@]}" wheel --no-deps --wheel-dir "$scratch" "$here/.."
    from=$(find "$scratch" -name 'jetpose-*.whl')
  fi
  if $dry; then from=${from:-/jetpose.whl}; else from=$(realpath -e "$from"); fi
  run "${pip[@]}" install --no-compile --constraint "$here/../constraints.txt" "jetpose[$extras] @ file://$from"
  # another wheel of the same version is none to pip
  run "${pip[@]}" install --no-compile --no-deps --force-reinstall "jetpose @ file://$from"
  # the service may not write there, so what is not compiled now is compiled at every start
  run "$there/bin/python" -m compileall -q ${root:+-s "$root" -p /} "$there/lib" > /dev/null || true
  if [ -n "$root" ]; then  # an environment knows where it lies
    # shellcheck disable=SC2016  # the inner shell's parameters; one command, as a dry run would break a pipe of two
    run sh -c 'grep -rlIZ --exclude-dir=lib "$1$2" "$3" | xargs -0r sed -i "s|$1$2|$2|g"' sh "$root" "$prefix" "$there"
  fi
  local command
  run mkdir -p "$root/usr/local/bin"
  for command in "$there"/bin/pose-*; do
    run ln -sfn "$prefix/bin/${command##*/}" "$root/usr/local/bin/${command##*/}"
  done
}

files() {
  local unit
  for unit in "${units[@]}"; do put 0644 "$unit" "$unit_folder/$unit"; done
  put 0644 jetpose.rules "$rule"
  put 0644 jetpose.sysusers "$users"
  run install -d -m 0750 "$root/etc/jetpose"
  if [ ! -e "$root$example" ]; then put 0644 example.toml "$example"; fi
}

accounts() {
  run systemd-sysusers ${root:+--root="$root"} "$root$users"
  # secrets may lie there; the numbers are those of the root's own /etc/group
  local group
  group=$($dry || sed -n 's/^jetpose:[^:]*:\([0-9]*\):.*/\1/p' "$root/etc/group")
  run chgrp "${group:-jetpose}" "$root/etc/jetpose"
}

tell_systemd() {
  live || return 0
  run systemctl daemon-reload
  if [ -d /run/udev ]; then
    run udevadm control --reload
    run udevadm trigger --subsystem-match=video4linux --subsystem-match=media
  fi
  run systemctl try-restart 'pose-build@*.service' 'pose-run@*.service'
}

stop() {
  live || return 0
  run systemctl stop 'pose-run@*.service' 'pose-build@*.service'
}

disable() {  # links made by systemctl enable
  local link
  for link in "$root"/etc/systemd/system/*.wants/pose-{run,build}@*.service; do
    if [ -L "$link" ]; then run rm -f "$link"; fi
  done
}

uninstall() {
  stop
  disable
  local link
  for link in "$root"/usr/local/bin/pose-*; do
    if [[ -L $link && $(readlink "$link") == "$prefix"/* ]]; then run rm -f "$link"; fi
  done
  run rm -f "${units[@]/#/$root$unit_folder/}" "$root$rule" "$root$users"
  run rm -rf "$root$prefix"
  if $purge; then
    run rm -rf "$root/etc/jetpose" "$root/var/lib/jetpose"
    if [ -z "$root" ] && { $dry || id jetpose > /dev/null 2>&1; }; then run userdel jetpose; fi
  else
    echo "kept: /etc/jetpose and /var/lib/jetpose; --purge takes them too"
  fi
  tell_systemd
}

if [ $action = uninstall ]; then
  uninstall
else
  [ "${skip[environment]:-}" ] || environment
  files
  [ "${skip[accounts]:-}" ] || accounts
  tell_systemd
  if live; then echo "next: edit $example, then systemctl enable --now pose-run@camera"; fi
fi
