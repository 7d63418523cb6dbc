#!/usr/bin/env bash
# Installs what building and testing Iglu needs. Each step looks first and does nothing where its result is there.
#
#   scripts/setup.sh build   Rust for wasm32, npm packages, cargo-leptos, wasm-bindgen
#   scripts/setup.sh test    the above, and what the tests drive: nextest, cargo-deny, Chromium, Nix, PostgreSQL, nginx,
#                            moto, kubernetes-validate, helm, Prometheus, bubblewrap, git,
#                            what the documents speak of: Caddy, rsync, zstd
#   scripts/setup.sh bench   what `make bench` compares with: nginx, wrk
#
# Rust for wasm32 comes from rustup where its server answers. Elsewhere, or with SETUP_DEBIAN_RUST=1, it is Debian's
# rustc with a wasm32 standard library built once from Debian's Rust source.
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-build}
target=wasm32-unknown-unknown
cargo_leptos=0.3.11
cargo_deny=0.20.2
cargo_nextest=0.9.143
wasm_bindgen=$(awk -F'"' '/^name = "wasm-bindgen"$/ { getline; print $2 }' Cargo.lock)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
step() { printf '== %s (%ss)\n' "$*" "$SECONDS"; }

apt_ready=
debian() {
  if [ -z "$apt_ready" ]; then as_root apt-get update -qq; apt_ready=1; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >"$tmp/apt.log" 2>&1 || { cat "$tmp/apt.log"; return 1; }
}

# Whether the active toolchain compiles and links a program that uses std for wasm32.
wasm_works() {
  echo '#[unsafe(no_mangle)] pub extern "C" fn probe() -> usize { std::env::args().count() }' |
    rustc --edition 2024 --crate-name probe --crate-type cdylib --target $target -o "$tmp/probe.wasm" - 2>/dev/null
}

debian_rust() {
  local lib=/usr/lib/rustlib llvm
  debian rustc-web cargo-web rust-web-src rust-web-clippy rustfmt-web gcc libc6-dev
  llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  debian "lld-$llvm"
  # Debian's package has no rust-lld; its LLVM's lld is the same program.
  as_root mkdir -p $lib/x86_64-unknown-linux-gnu/bin
  as_root ln -sfn "/usr/bin/lld-$llvm" $lib/x86_64-unknown-linux-gnu/bin/rust-lld
  # The standard library is built as a dependency of an empty crate, and its rlibs put where rustc looks.
  mkdir "$tmp/src"
  echo '#![no_std]' >"$tmp/src/lib.rs"
  printf '[package]\nname = "stub"\nedition = "2024"\n[workspace]\n[profile.release]\ncodegen-units = 1\n' >"$tmp/Cargo.toml"
  (cd "$tmp" && env -u CARGO_TARGET_DIR PATH=/usr/bin:/bin RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 \
    RUSTFLAGS=-Cembed-bitcode=yes /usr/bin/cargo build -q --release --target $target \
    -Z build-std=std,panic_abort,proc_macro,test)
  rm "$tmp/target/$target/release/deps/"libstub-*
  as_root rm -rf "$lib/$target"
  as_root mkdir -p "$lib/$target/lib"
  as_root cp "$tmp/target/$target/release/deps/"*.rlib "$lib/$target/lib/"
  rustup toolchain link debian /usr
  rm -rf target/front # cargo cannot see that std changed, and would report E0460
}

has() { [ "$("$@" --version 2>/dev/null | awk '{ print $2; exit }')" = "$want" ]; }
# The tools only drive other programs: an unoptimised build of them takes half the time.
install_tool() {
  CARGO_TARGET_DIR="$tmp/tools" CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_STRIP=true cargo install -q --debug "$@"
}

command -v cc >/dev/null || { step "C compiler"; debian gcc libc6-dev; }

step "Rust for $target"
if ! wasm_works && rustup toolchain list | grep -q '^debian'; then rustup override set debian; fi
if ! wasm_works && [ "${SETUP_DEBIAN_RUST:-}" != 1 ]; then timeout 120 rustup target add $target || true; fi
if ! wasm_works; then debian_rust; rustup override set debian; fi
wasm_works || { echo "no Rust toolchain here can build for $target"; exit 1; }
rustc --version

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  step "npm packages"
  PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm ci --no-fund --no-audit --loglevel=error
  touch node_modules/.package-lock.json
fi

want=$cargo_leptos
has cargo-leptos || { step "cargo-leptos $want"; install_tool --locked "cargo-leptos@$want" --features no_downloads; }
want=$wasm_bindgen
has wasm-bindgen || {
  step "wasm-bindgen $want"
  install_tool --locked "wasm-bindgen-cli@$want" --no-default-features --bin wasm-bindgen ||
    install_tool "wasm-bindgen-cli@$want" --no-default-features --bin wasm-bindgen
}

if [ "$what" = test ]; then
  want=$cargo_nextest
  command -v cargo-nextest >/dev/null || { step "cargo-nextest $want"; install_tool --locked "cargo-nextest@$want"; }
  want=$cargo_deny
  has cargo-deny || { step "cargo-deny $want"; install_tool --locked "cargo-deny@$want" --no-default-features; }
  command -v c++ >/dev/null || { step "C++ compiler, for the fuzzer's library"; debian g++; }
  command -v chromium >/dev/null || { step "Chromium"; debian chromium; }
  command -v nix >/dev/null || { step "Nix"; debian nix-bin; }
  command -v bwrap >/dev/null || { step "bubblewrap, which runs of builders are confined with"; debian bubblewrap; }
  command -v git >/dev/null || { step "git"; debian git; }
  command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { step "PostgreSQL"; debian postgresql; }
  command -v openssl >/dev/null && PATH=$PATH:/usr/sbin command -v nginx >/dev/null || {
    step "nginx, openssl"
    debian nginx-light openssl
  }
  command -v setpriv >/dev/null && command -v flock >/dev/null || { step "setpriv, flock"; debian util-linux; }
  PATH=$PATH:/usr/sbin command -v mkfs.ext4 >/dev/null || { step "mount, mkfs.ext4"; debian mount e2fsprogs; }
  command -v promtool >/dev/null || { step "Prometheus, which the metrics are read with"; debian prometheus; }
  command -v caddy >/dev/null || { step "Caddy, whose settings the documents have"; debian caddy; }
  command -v rsync >/dev/null && command -v zstd >/dev/null || { step "rsync, zstd"; debian rsync zstd; }
  command -v systemd-analyze >/dev/null || { step "systemd, which the units are checked with"; debian systemd; }
  python3 -c 'import ensurepip, venv' 2>/dev/null || { step "Python"; debian python3 python3-venv; }
  step "moto, kubernetes-validate, helm"
  scripts/python-env.sh moto >/dev/null
  scripts/python-env.sh kubernetes >/dev/null
  scripts/helm.sh version >/dev/null
fi
if [ "$what" = bench ]; then
  command -v nginx >/dev/null && command -v wrk >/dev/null || { step "nginx, wrk"; debian nginx-light wrk; }
fi
step "Set up"
