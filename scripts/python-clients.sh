#!/bin/sh
# Installs the Python clients that the tests run against Embermesh, what reads manifests, and a server of S3, into .tools/python. Safe to run again.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
dest=${EMBERMESH_TOOLS_DIR:-$here/../.tools}/python
packages='openai==3.54.0 langchain-openai==1.7.3 grpcio-tools==1.85.1 kubernetes-validate==1.37.0 check-jsonschema==0.39.0 pyyaml==6.0.4 moto[s3,server]==5.2.5'

if [ "$(cat "$dest/installed" 2>/dev/null)" = "$packages" ]; then
    exit 0
fi
if ! python3 -c 'import venv' 2>/dev/null; then
    echo 'python-clients: python3 with its venv module is needed (on Debian: apt-get install python3-venv)' >&2
    exit 1
fi
rm -rf "$dest"
python3 -m venv "$dest"
# shellcheck disable=SC2086 # a list of packages
"$dest/bin/pip" install --quiet --disable-pip-version-check $packages
printf '%s' "$packages" >"$dest/installed"
echo "python-clients: $packages"
