"""Rules and dashboards ask for metrics that there are, with labels that those have.

usage: alerts_and_panels.py [SCRAPE]

SCRAPE holds what the services answered at /metrics, one after the other. A metric with labels shows there only once something has
happened, so names are looked up in the code, and labels in the scrape where it has the metric.
"""

import json
import re
import shutil
import sys

import yaml

from rendering import ROOT, Skip, main, run

MONITORING = ROOT / "monitoring"
# of Prometheus itself
OWN = {"up", "ALERTS"}
# of the scrape, and of a histogram
EVERYWHERE = {"job", "instance", "le"}
FUNCTIONS = {
    "rate", "increase", "sum", "max", "min", "count", "topk", "histogram_quantile", "by", "on", "and", "unless", "or", "offset", "without",
    "ignoring", "absent", "avg", "delta",
}
DEFINITION = re.compile(
    r'(?:(?:Opts|IntCounter|IntGauge)::new|\bgauge|\bcounter|\bhistogram|\bplain|\bnamed)\(\s*"([a-z][a-z0-9_]+)"', re.S)
SELECTOR = re.compile(r"\b([a-z_][a-z0-9_]*)\s*(?:\{([^}]*)\})?", re.I)


def defined():
    """The metrics that the code registers."""
    names = set()
    for path in [*ROOT.glob("crates/*/src/**/*.rs"), *ROOT.glob("services/*/src/**/*.rs")]:
        if path.name != "tests.rs":
            code = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
            names |= {name for name in DEFINITION.findall(code) if "_" in name}
    assert len(names) > 40, f"the pattern has lost the definitions: {sorted(names)}"
    return names


def expressions():
    """Every query, with where it stands."""
    for path in sorted((MONITORING / "rules").glob("*.yaml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{path.name}: {rule['alert']}", rule["expr"], set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    for path in sorted((MONITORING / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.name}: {panel['title']}", target["expr"], set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


def read(expression):
    """Metrics of a query with the labels that are selected, and the labels that it groups by."""
    without_text = re.sub(r'"[^"]*"', '""', expression)
    grouped = set()
    for inside in re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", without_text):
        grouped |= {label.strip() for label in inside.split(",") if label.strip()}
    without_groups = re.sub(r"\b(?:by|on|without|ignoring)\s*\([^)]*\)", "", without_text)
    without_ranges = re.sub(r"\[[^]]*\]|\boffset\s+\w+", "", without_groups)
    metrics = {}
    for name, selectors in SELECTOR.findall(without_ranges):
        if name.lower() in FUNCTIONS:
            continue
        metrics.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selectors))
    return metrics, grouped


def base(name):
    return re.sub(r"_(bucket|count|sum)$", "", name)


def names_exist():
    """Every metric that a rule or a panel asks for is one that the code registers."""
    known = defined()
    missing = {(where, name) for where, expression, _ in expressions() for name in read(expression)[0]
               if name not in OWN and name not in known and base(name) not in known}
    assert not missing, f"nothing registers these: {sorted(missing)}"


def labels_exist():
    """Every label that is selected, grouped by or shown is one that the metric has, as far as the scrape has the metric."""
    if len(sys.argv) < 2:
        raise Skip("no scrape was given")
    labels = {}
    for line in open(sys.argv[1]):
        if found := re.match(r"([a-z_]+)(?:\{(.*)\})? ", line):
            labels.setdefault(found[1], set()).update(re.findall(r'(\w+)="', found[2] or ""))
    asked, unseen = set(), set()
    for where, expression, shown in expressions():
        metrics, grouped = read(expression)
        every = set(EVERYWHERE)
        for name, selected in metrics.items():
            if name in OWN:
                every |= {"job", "instance"}
                continue
            asked.add(name)
            if name not in labels:
                unseen.add(name)
                continue
            every |= labels[name]
            wrong = selected - labels[name] - EVERYWHERE
            assert not wrong, f"{where}: {name} has no label {sorted(wrong)}, but {sorted(labels[name])}"
        if not metrics.keys() & unseen:
            wrong = (grouped | shown) - every
            assert not wrong, f"{where}: no metric in it has {sorted(wrong)}"
    # a scrape that shows next to nothing would prove next to nothing
    assert len(asked - unseen) > 30, f"the scrape has only {sorted(asked - unseen)}"
    print(f"labels of {len(asked - unseen)} of {len(asked)} metrics checked; not in the scrape: {', '.join(sorted(unseen))}")


def rules_pass_their_tests():
    """promtool reads the rules and runs their unit tests."""
    promtool = shutil.which("promtool")
    if not promtool:
        raise Skip("promtool is not on the PATH: scripts/setup.sh --tests installs Debian's prometheus")
    run(promtool, "check", "config", MONITORING / "prometheus.yaml")
    run(promtool, "check", "rules", *sorted((MONITORING / "rules").glob("*.yaml")))
    for path in sorted((MONITORING / "tests").glob("*.yaml")):
        run(promtool, "test", "rules", path)


def every_rule_has_a_test_and_a_paragraph():
    """No alert without a unit test that expects it, nor without what to do in docs/alerts.md."""
    tests = "".join(path.read_text() for path in (MONITORING / "tests").glob("*.yaml"))
    text = (ROOT / "docs" / "alerts.md").read_text()
    titles = re.findall(r"^### (\w+)$", text, re.M)
    places = [where.split(": ") for where, _, _ in expressions() if ".yaml: " in where]
    for _, alert in places:
        assert f'alertname="{alert}"' in tests or f"alertname: {alert}\n" in tests, f"nothing expects {alert} to fire"
    ours = [alert for file, alert in places if file == "embermesh.yaml"]
    assert sorted(titles) == sorted(ours), f"docs/alerts.md and the rules differ: {set(titles) ^ set(ours)}"
    for file, alert in places:
        assert file == "embermesh.yaml" or f"`{alert}`" in text, f"docs/alerts.md does not say what becomes of {alert}"


def dashboards_are_what_their_source_writes():
    """monitoring/dashboards is not older than monitoring/dashboards.py."""
    run(sys.executable, MONITORING / "dashboards.py", "--check")


if __name__ == "__main__":
    main(
        dashboards_are_what_their_source_writes,
        names_exist,
        labels_exist,
        rules_pass_their_tests,
        every_rule_has_a_test_and_a_paragraph,
    )
