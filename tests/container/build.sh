#!/usr/bin/env bash
# Builds the container image for real, without a daemon and without pulling anything, and runs it the way it is deployed:
# as its numeric user, on a read-only root, without a shell.
#
# Base images are made here from Debian's packages: a builder with a compiler, to which this machine's Rust toolchain and
# package cache are lent while it builds, and a runtime of the C library and nothing else.
set -euo pipefail
cd "$(dirname "$0")/../.."

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
sysroot="$(rustc --print sysroot)"
cargo_home="${CARGO_HOME:-$HOME/.cargo}"

need() { command -v "$1" >/dev/null || { apt-get update -qq; apt-get install -y -qq "$2"; }; }
need buildah buildah
need debootstrap debootstrap

from_folder() { # NAME FOLDER [SETTING...]: an image of one layer, with this environment
  local container setting
  container="$(buildah from scratch)"
  buildah copy --quiet "$container" "$2" / >/dev/null
  for setting in "${@:3}"; do buildah config --env "$setting" "$container"; done
  buildah commit --quiet "$container" "$1" >/dev/null
  buildah rm "$container" >/dev/null
}

echo "== base images"
debootstrap --variant=minbase --include=gcc,libc6-dev bookworm "$work/builder" >/dev/null
from_folder localhost/otk-builder "$work/builder" \
  PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/cargo CARGO_NET_OFFLINE=true
mkdir -p "$work/runtime"
for library in ld-linux-x86-64.so.2 libc.so.6 libm.so.6 libgcc_s.so.1; do
  found="$(find "$work/builder" -name "$library" -print -quit)"
  install -D "$found" "$work/runtime/lib/x86_64-linux-gnu/$library"
done
mkdir -p "$work/runtime/lib64" "$work/runtime/usr/local/bin"
: > "$work/runtime/gateway.toml" # everything comes from the environment here
ln -s ../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 "$work/runtime/lib64/ld-linux-x86-64.so.2"
from_folder localhost/otk-runtime "$work/runtime"

echo "== image"
buildah build --quiet --format docker --layers=false --pull-never \
  --build-arg BUILDER_IMAGE=localhost/otk-builder --build-arg RUNTIME_IMAGE=localhost/otk-runtime \
  --volume "$sysroot:/rust:ro" --volume "$cargo_home:/cargo:rw" \
  --tag localhost/otk-gateway .
buildah inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}}' localhost/otk-gateway

echo "== run"
container="$(buildah from --pull-never localhost/otk-gateway)"
root="$(buildah mount "$container")"
mkdir -p "$work/mnt" && mount --bind -o ro "$root" "$work/mnt" && mount -o remount,ro,bind "$work/mnt"
finish() { kill "${gateway:-}" 2>/dev/null || true; umount "$work/mnt"; buildah rm "$container" >/dev/null; rm -rf "$work"; }
trap finish EXIT
exec_inside() { exec chroot --userspec=65532:65532 --groups= "$work/mnt" "$@"; }
inside() { chroot --userspec=65532:65532 --groups= "$work/mnt" "$@"; }
inside /usr/local/bin/otk-gateway --version
! inside /bin/sh -c true 2>/dev/null || { echo "there is a shell"; exit 1; }
! inside /usr/local/bin/otk-gateway demo 2>/dev/null || { echo "the sandbox is in it"; exit 1; }
OTK_GATEWAY__UPSTREAM__BASE_URL='http://127.0.0.1:9' OTK_GATEWAY__UPSTREAM__API_KEY_ENV=KEY KEY=made-up \
OTK_GATEWAY__SIGNATURE__PUBLIC_KEYS='["0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"]' \
  exec_inside /usr/local/bin/otk-gateway serve --config /gateway.toml &
gateway=$!
for _ in $(seq 50); do inside /usr/local/bin/otk-gateway health 2>/dev/null && break; sleep 0.1; done
inside /usr/local/bin/otk-gateway health && echo "healthy, as uid 65532 on a read-only root"
kill -TERM "$gateway"; wait "$gateway" && echo "ended with 0"
