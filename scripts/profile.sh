#!/bin/sh
# Writes profile/embermesh.profdata: which ways through the code the load bench takes, for compilers to lay the code out by. A build that
# counts is made in target/profile, so this takes as long as a release build. Run it before images are built; everything stays on loopback.
#
# usage: profile.sh
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
bin=$root/target/dist
. "$root/scripts/lib/load.sh"
host=$(rustc -vV | sed -n 's/^host: //p')
counting=$root/target/profile

# what reads the counters must be at least as new as the compiler's format: the toolchain's own, where that component is installed
merge=$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata
if [ ! -x "$merge" ]; then
    "$root/scripts/install-debian-package.sh" llvm-profdata-19 llvm-19
    merge=llvm-profdata-19
fi

# with a target named, build scripts are not counted
RUSTFLAGS=-Cprofile-generate \
    cargo build --locked --profile dist --workspace --bin embermesh --target "$host" --target-dir "$counting"
export LLVM_PROFILE_FILE="$work/counters/%p.profraw"
load "$counting/$host/dist/embermesh" --rounds 1 --seconds 2 >&2
mkdir -p "$root/profile"
"$merge" merge --sparse --output "$work/embermesh.profdata" "$work"/counters/*.profraw
mv "$work/embermesh.profdata" "$root/profile/"
echo "written: profile/embermesh.profdata"
