#!/bin/sh
# Search bench: recall, throughput and latency on real text, beside plain pgvector on the same rows. Writes docs/search.md.
# The text is documentation out of Debian packages, which are unpacked beside the tools, not installed. The local model embeds it once,
# which takes about ten minutes; run this on an idle machine.
#
# usage: search.sh [ARGUMENTS FOR bench-search]
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
packages='debian-reference-en linux-doc-6.1 postgresql-doc-15 python3.11-doc'

corpus=$tools/corpus
if [ ! -s "$corpus/texts.jsonl" ]; then
    command -v apt-get >/dev/null || { echo "search: this machine has no apt-get to fetch $packages with" >&2; exit 1; }
    mkdir -p "$corpus/packages" "$corpus/unpacked"
    # shellcheck disable=SC2086 # the packages are separate words
    (cd "$corpus/packages" && { apt-get download $packages || { apt-get update && apt-get download $packages; }; })
    for package in "$corpus"/packages/*.deb; do
        dpkg -x "$package" "$corpus/unpacked"
    done
    python3 "$root/bench/search/corpus.py" "$corpus/unpacked" "$corpus/texts.part"
    mv "$corpus/texts.part" "$corpus/texts.jsonl"
    rm -rf "$corpus/packages" "$corpus/unpacked"
fi

measure "$root/target/release/bench-search" --corpus "$corpus/texts.jsonl" --vectors "$corpus/vectors.f32" \
    --weights "$tools/minilm" --postgres "$tools/postgres" --markdown "$work/table.md" "$@"

cat >"$root/docs/search.md" <<TEXT
# Search bench

\`make bench-search\`: chunks of 80 to 360 characters out of the Debian packages $(echo "$packages" | sed 's/ /, /g'), embedded by the local
model (384 dimensions); the searches are other chunks of the same packages. Recall is held against an exact search in single precision.
PostgreSQL with pgvector, its clients and the service share the machine's cores. The rows of *pgvector* are \`pgbench\` with prepared
statements on a table that has nothing but number, text and vector; those of *vector-store* are the service over gRPC, with tenants,
row-level security, metadata and whole rows. Warm; no parallel scans on either side. The service is asked as the gateway asks it by
default (\`eventual\`), through a client that encodes its requests beforehand and decodes none but the last answer. What is lost to plain
pgvector is measured by turns, on the same rows, with an index of its own and as many candidates looked at.

A row with a bar is a promise; the run fails when one is not kept.

$(taken).

$(cat "$work/table.md")
TEXT
echo "written: docs/search.md"
exit "$kept"
