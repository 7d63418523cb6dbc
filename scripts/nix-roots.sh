#!/usr/bin/env bash
# Makes chroots with the Nix of other Debian releases, for tests that run more than this machine's own version.
#
#   scripts/nix-roots.sh          makes what is missing, mounts what is not mounted, prints each version
#   scripts/nix-roots.sh remove   unmounts and deletes them
#
# They lie in IGLU_NIX_ROOTS, by default /var/tmp/iglu-nix-roots: 350 MB and half a minute for each. Packages come from the
# Debian mirror that this machine's own apt is set to. Needs root, for chroot and mount.
set -euo pipefail
export IGLU_NIX_ROOTS=${IGLU_NIX_ROOTS:-/var/tmp/iglu-nix-roots}
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=IGLU_NIX_ROOTS,http_proxy,https_proxy,no_proxy "$0" "$@"

case $IGLU_NIX_ROOTS in
  /*/*) roots=$(realpath -m "$IGLU_NIX_ROOTS") ;;
  *) echo "IGLU_NIX_ROOTS is $IGLU_NIX_ROOTS: it must be an absolute path of at least two names" >&2; exit 1 ;;
esac
suites=(trixie forky)
scripts=/usr/share/debootstrap/scripts
step() { printf '== %s (%ss)\n' "$*" "$SECONDS"; }

# What is mounted below a folder, the innermost first.
mounts_below() { awk -v below="$1/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r; }

# Nothing is deleted while something is mounted in it: what is mounted belongs to the machine.
remove() {
  local mounted
  mounts_below "$1" | while read -r mounted; do umount "$mounted"; done
  if [ -n "$(mounts_below "$1")" ]; then echo "still mounted below $1:" >&2; mounts_below "$1" >&2; exit 1; fi
  rm -rf --one-file-system "$1"
}

mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | awk 'NR == 1'
}

make_root() {
  local suite=$1 root=$2 script=$scripts/$1
  # A release that this machine's debootstrap does not know yet is made like unstable.
  [ -e "$script" ] || script=$scripts/sid
  step "Debian $suite in $root"
  remove "$root"
  {
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror" "$script" &&
      # The chroot reaches the network as this machine does.
      cp /etc/resolv.conf "$root/etc/resolv.conf" &&
      { apt-config dump | grep -E '^Acquire::(https?|Check-|Retries|ForceIP)' >"$root/etc/apt/apt.conf.d/90host" || true; } &&
      # debootstrap alone does not know packages by what they provide, which Nix needs.
      chroot "$root" apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -qq -y --no-install-recommends nix-bin
  } >"$roots/$suite.log" 2>&1 || { tail -20 "$roots/$suite.log" >&2; return 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$roots/$suite.log"
  touch "$root/.ready"
}

# Nix reads /proc/self/exe when it starts, and gives each builder a pseudo-terminal.
mount_root() {
  local root=$1
  mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
  mountpoint -q "$root/dev/pts" ||
    mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts "$root/dev/pts"
  ln -sfn pts/ptmx "$root/dev/ptmx"
}

mkdir -p "$roots"
exec 9>"$roots/.lock"
flock 9

if [ "${1:-}" = remove ]; then
  for suite in "${suites[@]}"; do remove "$roots/$suite"; done
  rm -f "$roots/.lock" "$roots"/*.log
  rmdir "$roots"
  exit
fi

mirror=
for suite in "${suites[@]}"; do
  root=$roots/$suite
  if [ ! -e "$root/.ready" ]; then
    if [ -z "$mirror" ]; then
      apt-get update -qq
      [ -e "$scripts/sid" ] || DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends debootstrap
      mirror=$(mirror)
      [ -n "$mirror" ] || { echo "apt on this machine has no Debian mirror" >&2; exit 1; }
    fi
    make_root "$suite" "$root"
  fi
  mount_root "$root"
  step "$suite: $(chroot "$root" nix --version)"
done
