# Sourced behind figures.sh, with $bin the folder of bench-load and bench-proxy: `load EMBERMESH [ARGUMENTS FOR bench-load]` loads that
# binary, with everything on and a data folder of its own.
# shellcheck shell=sh disable=SC2154 # set by the sourcing script and figures.sh
cat >"$work/embermesh.yaml" <<YAML
logging: {level: warn}
embedding:
  providers:
    openai: {base_url: '\${BENCH_UPSTREAM_URL}', api_key: bench, models: [text-embedding-3-small]}
    local: {enabled: false}
YAML

load() {
    embermesh=$1
    shift
    rm -rf "$work/data"
    "$bin/bench-load" --upstream-listen 127.0.0.1:9901 \
        --target-name embermesh --target-url http://127.0.0.1:9902 --ready-path /health/ready \
        --spawn "$embermesh up --config $work/embermesh.yaml --data-dir $work/data --listen 127.0.0.1:9902" \
        --api-key-file "$work/data/keys.json" "$@"
}
