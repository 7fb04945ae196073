#!/usr/bin/env python3
"""Writes the Grafana dashboards of `monitoring/dashboards`: what is on them stands here and nowhere else.

usage: dashboards.py           write them
       dashboards.py --check   exit with 1 when a file is not what would be written
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parent / "dashboards"
WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "$__rate_interval"


def panel(title, *queries, unit="short", kind="timeseries", width=8, height=8, text="", stack=False, most=None):
    """One panel; a query is an expression, or an expression and what its lines are called."""
    pairs = [query if isinstance(query, tuple) else (query, "") for query in queries]
    custom = {"fillOpacity": 20 if stack else 5, "showPoints": "never"}
    if stack:
        custom["stacking"] = {"mode": "normal", "group": "A"}
    defaults = {"unit": unit, "min": 0, "custom": custom}
    if most is not None:
        defaults["max"] = most
    instant = kind in ("stat", "table", "bargauge")
    return {
        "title": title,
        "description": text,
        "type": kind,
        "datasource": SOURCE,
        "size": (width, height),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
        if kind == "timeseries"
        else {},
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend or "__auto",
                "instant": instant,
                "range": not instant,
            }
            for at, (expression, legend) in enumerate(pairs)
        ],
    }


def row(title):
    return {"title": title, "type": "row", "collapsed": False, "panels": [], "size": (WIDTH, 1)}


def laid_out(parts):
    """The parts from left to right and from top to bottom, numbered."""
    done, x, y, tallest = [], 0, 0, 0
    for number, part in enumerate(parts, start=1):
        width, height = part["size"]
        if x + width > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        placed = {key: value for key, value in part.items() if key != "size"}
        done.append({"id": number, **placed, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, tallest = x + width, max(tallest, height)
    return done


def dashboard(uid, title, description, parts, since="now-6h"):
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["embermesh"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": since, "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "links": [{"type": "dashboards", "tags": ["embermesh"], "asDropdown": True, "title": "Embermesh"}],
        "panels": laid_out(parts),
    }


def quantile(share, metric, *by):
    labels = ", ".join(("le", *by))
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket[{RATE}])))"


def percentiles(metric):
    return [(quantile(share, metric), name) for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))]


GUIDE = dashboard(
    "embermesh-guide",
    "Embedding System Dashboard",
    "The four panels of the operations guide, with its queries as printed. The other dashboards have them per second, per share and per hour.",
    [
        panel("Request Rate", "rate(http_requests_total[5m])", unit="reqps", width=12),
        panel("Latency Percentiles", "histogram_quantile(0.95, http_request_duration_seconds_bucket)", unit="s", width=12,
              text="Over everything since the process started: see Overview for the last minutes."),
        panel("Provider Health", "embedding_provider_health", width=12),
        panel("Cost by Agent", "sum by (agent_id) (increase(embedding_cost_total[1h]))", unit="currencyUSD", width=12),
    ],
)

OVERVIEW = dashboard(
    "embermesh-overview",
    "Embermesh / Overview",
    "Is it well? What agents see, and what stands behind it.",
    [
        panel("Requests a second", f"sum(rate(http_requests_total[{RATE}]))", kind="stat", unit="reqps", width=4, height=4),
        panel("Failed", 'sum(rate(http_requests_total{status=~"5.."}[5m])) / sum(rate(http_requests_total[5m]))',
              kind="stat", unit="percentunit", width=4, height=4),
        panel("p95", quantile(0.95, "http_request_duration_seconds"), kind="stat", unit="s", width=4, height=4),
        panel("Texts a minute", f"60 * sum(rate(embedding_items_total[{RATE}]))", kind="stat", width=4, height=4),
        panel("Dollars in the last hour", "sum(increase(embedding_cost_total[1h]))", kind="stat", unit="currencyUSD", width=4, height=4),
        panel("Providers unhealthy", 'sum(max by (provider) (embedding_provider_health{status="unhealthy"}))', kind="stat", width=4, height=4),
        row("What agents see"),
        panel("Requests by route", (f"sum by (path) (rate(http_requests_total[{RATE}]))", "{{path}}"), unit="reqps", stack=True),
        panel("Answers by status", (f"sum by (status) (rate(http_requests_total[{RATE}]))", "{{status}}"), unit="reqps", stack=True),
        panel("Latency", *percentiles("http_request_duration_seconds"), unit="s"),
        panel("p95 by route", (quantile(0.95, "http_request_duration_seconds", "path"), "{{path}}"), unit="s"),
        panel("Refused for their content or budget",
              (f'sum by (status) (rate(http_requests_total{{status=~"402|413|422|429"}}[{RATE}]))', "{{status}}"), unit="reqps"),
        panel("Time beside the provider's", *percentiles("gateway_overhead_seconds"), unit="s",
              text="Of requests that had something embedded: the time in the system less the time at providers."),
        panel("Personal data found", (f"sum by (entity, action) (rate(pii_detections_total[{RATE}]))", "{{entity}} {{action}}")),
        row("Behind the gateway"),
        panel("Time in the router", *percentiles("embedding_request_duration_seconds"), unit="s"),
        panel("Embedding requests", (f"sum by (status) (rate(embedding_requests_total[{RATE}]))", "{{status}}"), unit="reqps", stack=True),
        panel("gRPC calls that failed", (
            f'sum by (job, grpc_code) (rate(grpc_server_handled_total{{grpc_code!="Ok"}}[{RATE}]))', "{{job}} {{grpc_code}}"), unit="reqps"),
    ],
)

PROVIDERS = dashboard(
    "embermesh-providers",
    "Embermesh / Providers",
    "Who answers, how fast, and who is left alone.",
    [
        panel("Health", ('max by (provider, status) (embedding_provider_health) == 1', "{{provider}} {{status}}"), kind="stat", width=12),
        panel("Breakers", ('max by (deployment, state) (circuit_breaker_state) == 1', "{{deployment}} {{state}}"), kind="stat", width=12),
        panel("Answered calls", ("min by (provider) (embedding_provider_availability_ratio)", "{{provider}}"), unit="percentunit", most=1,
              text="Of the last minute; of a provider's worst deployment."),
        panel("Latency p95", (quantile(0.95, "provider_request_duration_seconds", "provider"), "{{provider}}"), unit="s"),
        panel("Calls", (f"sum by (provider, status) (rate(provider_request_duration_seconds_count[{RATE}]))", "{{provider}} {{status}}"),
              unit="reqps", stack=True),
        panel("Failovers", (f"sum by (from, to) (rate(embedding_failovers_total[{RATE}]))", "{{from}} → {{to}}"), unit="reqps"),
        panel("Breakers moved", (f"sum by (deployment, state) (increase(circuit_breaker_transitions_total[{RATE}]))", "{{deployment}} {{state}}")),
        panel("Refused as too many", (f"sum by (provider) (rate(provider_throttled_total[{RATE}]))", "{{provider}}"), unit="reqps"),
        panel("Canary", ("min by (deployment) (embedding_canary_cosine)", "{{deployment}}"), most=1,
              text="Cosine against the recorded vectors of the space."),
        panel("Drift", ("max by (deployment) (embedding_drift)", "{{deployment}}"), most=1),
        panel("Tokens", (f"sum by (provider, model) (rate(embedding_tokens_total[{RATE}]))", "{{provider}} {{model}}"), stack=True),
    ],
)

MONEY = dashboard(
    "embermesh-money",
    "Embermesh / Money",
    "Who spends what, how full budgets are, and whether the books keep up.",
    [
        panel("Dollars in the last hour", "sum(increase(embedding_cost_total[1h]))", kind="stat", unit="currencyUSD", width=6, height=4),
        panel("Dollars in the last day", "sum(increase(embedding_cost_total[1d]))", kind="stat", unit="currencyUSD", width=6, height=4),
        panel("Fullest budget", "max(embedding_budget_utilization_ratio)", kind="stat", unit="percentunit", width=6, height=4),
        panel("The ledger is behind by", "max(journal_backlog_age_seconds)", kind="stat", unit="s", width=6, height=4),
        panel("Cost by agent, an hour", ("topk(20, sum by (agent_id) (increase(embedding_cost_total[1h])))", "{{agent_id}}"),
              unit="currencyUSD", width=12, stack=True),
        panel("Cost by provider and model, an hour", ("sum by (provider, model) (increase(embedding_cost_total[1h]))", "{{provider}} {{model}}"),
              unit="currencyUSD", width=12, stack=True),
        panel("Budgets", ("topk(20, max by (scope, subject, period) (embedding_budget_utilization_ratio))", "{{scope}} {{subject}} {{period}}"),
              unit="percentunit", width=12),
        panel("Shares of budgets passed", ("sum by (scope, period, percent) (increase(embedding_budget_alerts_total[1h]))",
              "{{scope}} {{period}} {{percent}} %"), width=12),
        panel("How money was set aside", (f"sum by (way) (rate(budget_reservations_total[{RATE}]))", "{{way}}"), unit="reqps", stack=True),
        panel("Leases held", ("sum by (instance) (budget_leases)", "{{instance}}")),
        panel("Entries that the ledger does not have yet", ("sum by (instance) (journal_backlog_entries)", "{{instance}}")),
        panel("Bytes of them", ("sum by (instance) (journal_backlog_bytes)", "{{instance}}"), unit="bytes"),
        panel("Entries that can never be booked", ("sum by (instance) (increase(journal_rejected_total[1h]))", "{{instance}}")),
        panel("Operations of the ledger", (f"sum by (operation, outcome) (rate(ledger_operations_total[{RATE}]))", "{{operation}} {{outcome}}"),
              unit="ops"),
        panel("Operations in one transaction", *percentiles("ledger_batch_operations")),
    ],
    since="now-24h",
)

CACHE = dashboard(
    "embermesh-cache-and-storage",
    "Embermesh / Cache and storage",
    "What is not asked for twice, and how rows are found.",
    [
        panel("Answered by caches", (
            f'sum(rate(embedding_cache_hits_total[{RATE}])) / (sum(rate(embedding_cache_hits_total{{tier="memory"}}[{RATE}]))'
            f' + sum(rate(embedding_cache_misses_total{{tier="memory"}}[{RATE}])))', "all"),
            (f"sum by (tier) (rate(embedding_cache_hits_total[{RATE}])) / (sum by (tier) (rate(embedding_cache_hits_total[{RATE}]))"
             f" + sum by (tier) (rate(embedding_cache_misses_total[{RATE}])))", "{{tier}}"), unit="percentunit", most=1),
        panel("Hits", (f"sum by (tier) (rate(embedding_cache_hits_total[{RATE}]))", "{{tier}}"), unit="ops", stack=True),
        panel("Merged", (f"sum(rate(embedding_single_flight_total[{RATE}]))", "texts that waited for a call under way"),
              (f"sum(rate(embedding_shared_calls_total[{RATE}]))", "calls that requests shared"), unit="ops"),
        panel("Redis p95", (quantile(0.95, "redis_call_duration_seconds", "call"), "{{call}}"), unit="s"),
        panel("Redis without an answer", (f"sum by (call, reason) (rate(redis_call_failures_total[{RATE}]))", "{{call}} {{reason}}"), unit="ops"),
        row("PostgreSQL"),
        panel("Searches", (f"sum by (scan) (rate(vector_search_duration_seconds_count[{RATE}]))", "{{scan}}"), unit="ops", stack=True),
        panel("Search p95", (quantile(0.95, "vector_search_duration_seconds", "scan"), "{{scan}}"), unit="s"),
        panel("Operations p95", (quantile(0.95, "db_query_duration_seconds", "query"), "{{query}}"), unit="s"),
        panel("Operations", (f"sum by (query) (rate(db_query_duration_seconds_count[{RATE}]))", "{{query}}"), unit="ops"),
        panel("Rows", ("topk(20, max by (space) (vector_rows))", "{{space}}"), stack=True,
              text="As PostgreSQL estimates them; every replica of the store tells the same."),
        panel("Disk", ("topk(20, max by (space) (vector_table_bytes))", "{{space}}"), unit="bytes", stack=True,
              text="Of the tables of rows, with their indexes."),
        panel("Index scans", (f"topk(20, max by (index) (rate(vector_index_scans_total[{RATE}])))", "{{index}}"), unit="ops"),
        panel("Connections", ("sum by (pool, state) (db_pool_connections)", "{{pool}} {{state}}")),
        panel("Reads, where there are replicas", (f"sum by (target, reason) (rate(db_reads_total[{RATE}]))", "{{target}} {{reason}}"), unit="ops",
              stack=True),
        panel("Replicas behind", ("min by (replica) (db_replica_lag_seconds)", "{{replica}}"), unit="s"),
    ],
)

CONTROL = dashboard(
    "embermesh-control-plane",
    "Embermesh / Control plane",
    "Whether everybody runs on the configuration of now, and whether the record of changes is whole.",
    [
        panel("Silence of admin", ("max by (job, instance, subscriber) (config_admin_silence_seconds)", "{{instance}} {{subscriber}}"), unit="s",
              width=12),
        panel("Version in force", ("max by (job, instance, subscriber) (config_version)", "{{instance}} {{subscriber}}"), width=12),
        panel("Streams", ("sum by (instance) (admin_config_subscribers)", "{{instance}}")),
        panel("Changes sent", (f"sum by (instance) (rate(admin_config_changes_total[{RATE}]))", "{{instance}}"), unit="ops"),
        panel("Keys", ("max(admin_keys_rotation_due)", "due for rotation"), ("max(admin_keys_ending)", "end within a week without successor")),
        panel("Anchors signed", ("sum by (instance) (increase(admin_audit_anchors_total[1h]))", "{{instance}}")),
        panel("Contradictions", ("max(admin_audit_contradictions_total)", "chains cut off or written anew"), kind="stat"),
        panel("Calls recorded", (f"sum(rate(gateway_api_requests_recorded_total[{RATE}]))", "recorded"),
              (f"sum(rate(gateway_api_requests_dropped_total[{RATE}]))", "dropped"), unit="ops"),
        panel("Recorded calls that wait for admin", ("sum by (instance) (gateway_api_requests_waiting_bytes)", "{{instance}}"), unit="bytes"),
    ],
)

ALL = {
    "guide": GUIDE,
    "overview": OVERVIEW,
    "providers": PROVIDERS,
    "money": MONEY,
    "cache-and-storage": CACHE,
    "control-plane": CONTROL,
}


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    wanted = {FOLDER / f"{name}.json": json.dumps(of, indent=2, ensure_ascii=False) + "\n" for name, of in ALL.items()}
    there = {path: path.read_text() for path in FOLDER.glob("*.json")}
    if check:
        stale = sorted(path.name for path in wanted.keys() | there.keys() if wanted.get(path) != there.get(path))
        sys.exit(f"run monitoring/dashboards.py, these are not what it writes: {', '.join(stale)}" if stale else 0)
    for path in there.keys() - wanted.keys():
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
