"""The real binaries read what the chart, k8s/ and compose.yaml give them: file and variables.

usage: configuration.py FOLDER-OF-THE-BINARIES
"""

import os
import pathlib
import re
import sys
import tempfile

import yaml

from rendering import ROOT, VALUES, VARIANTS, chart, component, container, kustomization, main, merged, run, workloads

SERVICES = ("gateway", "provider-router", "cost-ledger", "vector-store", "admin")
SECRETS = {
    "DB_PASSWORD": "a password",
    "DATABASE_URL": "postgresql://user:password@db.example.com/embeddings?sslmode=require",
    "REDIS_URL": "rediss://:password@redis.example.com:6380",
    "EMBERMESH__EMBEDDING__SECURITY__CREDENTIAL_KEYS": "1:" + "0" * 64,
}


def dumped(service, arguments, variables, file):
    """The effective configuration of a service, as it says itself."""
    binary = pathlib.Path(sys.argv[1]) / f"embermesh-{service}"
    arguments = [str(file) if argument == "/etc/embermesh/embermesh.yaml" else argument for argument in arguments]
    plain = {"PATH": os.environ["PATH"], **variables}
    return yaml.safe_load(run(binary, *arguments, "--dump-config", env=plain, cwd=tempfile.gettempdir()))


def variables_of(one):
    given = {}
    for variable in one["env"]:
        given[variable["name"]] = variable.get("value") or SECRETS.get(variable["name"], "secret")
        if variable["name"].endswith("_URL") and "valueFrom" in variable and variable["name"] != "REDIS_URL":
            given[variable["name"]] = SECRETS["DATABASE_URL"]
    return given


def reads(objects, where):
    config, = (one for one in objects if one["kind"] == "ConfigMap" and "embermesh.yaml" in one["data"] and "migrate" not in one["metadata"]["name"])
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "embermesh.yaml"
        file.write_text(config["data"]["embermesh.yaml"])
        ports = {component(one): {port["name"]: port["port"] for port in one["spec"]["ports"]} for one in objects
                 if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"}
        hosts = {component(one): one["metadata"]["name"] for one in objects
                 if one["kind"] == "Service" and one["spec"].get("clusterIP") == "None"}
        for service in SERVICES:
            one = container(workloads(objects)[service])
            effective = dumped(service, one["args"], variables_of(one), file)
            assert effective["server"]["listen"].endswith(f":{ports[service]['grpc']}"), where
            assert effective["server"]["operations"].endswith(f":{ports[service]['operations']}"), where
            assert effective["data_dir"] == "/var/lib/embermesh", where
            for key, other in (("router", "provider-router"), ("ledger", "cost-ledger"), ("store", "vector-store"), ("admin", "admin")):
                url = effective["services"][key]
                assert f"//{hosts[other]}.developer-mesh.svc." in url and url.endswith(f":{ports[other]['grpc']}"), f"{where}: {url}"
            tls = effective["server"].get("tls")
            mounted = {mount["mountPath"] for mount in one["volumeMounts"]}
            if tls:
                assert {str(pathlib.Path(tls[part]).parent) for part in ("certificate", "key", "authority")} <= mounted, where
                assert effective["services"]["admin"].startswith("https://"), where
                assert tls["clients"] == "mutual" or service == "gateway", f"{where}: {service} would take anybody"


def services_read_what_the_chart_gives_them():
    """In every set of values."""
    for values in VALUES:
        reads(chart(values), values)
    for name, values, settings in VARIANTS:
        if "TLS" in name:
            reads(chart(values, settings), name)


def services_read_what_kustomize_gives_them():
    """In base and overlays."""
    for folder in ("base", "overlays/small", "overlays/production"):
        reads(kustomization(folder), folder)


def services_read_what_compose_gives_them():
    """The variables of compose.yaml, with the guide's in the environment."""
    stack = yaml.safe_load((ROOT / "compose.yaml").read_text())
    outside = {"DB_PASSWORD": "a password", "OPENAI_API_KEY": "sk-guide", "AWS_REGION": "eu-west-1", "BEDROCK_ENABLED": "true"}
    for service in SERVICES:
        given = {name: resolved(value, outside) for name, value in stack["services"]["rest-api" if service == "gateway" else service]["environment"].items()}
        effective = dumped(service, [], given, None)
        assert effective["environment"] == "production"
        assert effective["database"]["host"] == "postgres" and effective["database"]["ssl_mode"] == "require"
        assert "sk-guide" not in given.values() or service == "provider-router"
        if service == "provider-router":
            assert effective["embedding"]["providers"]["bedrock"]["region"] == "eu-west-1"
            assert effective["embedding"]["providers"]["openai"]["enabled"] is True
        if service == "vector-store":
            assert effective["redis"]["cluster_endpoints"] == ["redis:6379"]


def commands_of_the_documents_exist():
    """`embermesh` knows every command that the runbooks name, and those of the jobs."""
    words = set()
    for name in ("alerts", "kubernetes"):
        text = (ROOT / "docs" / f"{name}.md").read_text()
        words |= set(re.findall(r"[`-] ?embermesh ([a-z]+(?: [a-z][a-z-]+)?)", text))
    assert len(words) > 8, words
    jobs = merged(None)["jobs"]
    for job in jobs.values():
        command = job["arguments"][0]
        said = run(pathlib.Path(sys.argv[1]) / "embermesh", command, *(job["arguments"][1:2] if command == "keys" else []), "--help")
        assert all(option in said for option in job["arguments"] if option.startswith("--")), said
    rotation = jobs["keyRotation"]["arguments"]
    assert rotation[:2] == ["keys", "rotate"]
    for command in sorted(words | {"keys rotate", "database migrate"}):
        run(pathlib.Path(sys.argv[1]) / "embermesh", *command.split(), "--help")
    options = run(pathlib.Path(sys.argv[1]) / "embermesh", "keys", "rotate", "--help")
    assert all(option in options for option in rotation if option.startswith("--")), options


def resolved(value, outside):
    """`${NAME:-default}` and `${NAME:?message}`, as Compose reads them."""
    if not str(value).startswith("${"):
        return str(value)
    name, _, rest = value[2:-1].partition(":")
    return outside.get(name) or (rest[1:] if rest.startswith("-") else "")


if __name__ == "__main__":
    main(
        services_read_what_the_chart_gives_them,
        services_read_what_kustomize_gives_them,
        services_read_what_compose_gives_them,
        commands_of_the_documents_exist,
    )
