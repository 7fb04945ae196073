"""Every manifest is one that Kubernetes takes, and every pod has what a pod of ours has to have."""

import json
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

from rendering import CHART, OF_OPERATORS, ROOT, VALUES, VARIANTS, chart, component, container, kustomization, main, merged, run, workloads

KUBERNETES = ("1.31.0", "1.37.0")
SERVICES = {"gateway", "provider-router", "cost-ledger", "vector-store", "admin"}


def validate(objects, where):
    for version in KUBERNETES:
        for one in objects:
            name = f"{where}: {one['kind']} {one['metadata']['name']} in Kubernetes {version}"
            if one["kind"] in OF_OPERATORS:
                assert one["spec"], name
                continue
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as wrong:
                path = ".".join(str(part) for part in wrong.path)
                raise AssertionError(f"{name}: {path}: {wrong.message}") from None
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    assert len(names) == len(set(names)), f"{where}: something is there twice: {sorted(names)}"


def is_locked_down(pod, where):
    assert pod["securityContext"]["runAsNonRoot"], where
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, where
    assert pod["automountServiceAccountToken"] is False, where
    for one in pod["containers"]:
        security = one["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], where
        assert security["capabilities"] == {"drop": ["ALL"]}, where
        assert one["resources"]["requests"]["memory"] and one["resources"]["limits"]["memory"], where


def looks_right(objects, where):
    found = workloads(objects)
    assert SERVICES <= found.keys(), f"{where}: {found.keys()}"
    secrets = {}
    for name, workload in found.items():
        is_locked_down(workload["spec"]["template"]["spec"], f"{where}: {name}")
    for name in SERVICES:
        workload, one = found[name], container(found[name])
        paths = {probe: one[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert paths == {"startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready"}, where
        pod = workload["spec"]["template"]["spec"]
        pause = one["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert pod["terminationGracePeriodSeconds"] > pause + 30, where
        assert len(pod["topologySpreadConstraints"]) == 2, where
        selector = workload["spec"]["selector"]["matchLabels"]
        assert selector.items() <= workload["spec"]["template"]["metadata"]["labels"].items(), where
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, where
        secrets[name] = {variable["name"] for variable in one["env"] if "valueFrom" in variable}
        headless = [of for of in objects if of["kind"] == "Service" and of["spec"].get("clusterIP") == "None" and component(of) == name]
        assert [of["spec"]["selector"] for of in headless] == [selector], f"{where}: no headless service of {name}"
        budgets = [of for of in objects if of["kind"] == "PodDisruptionBudget" and component(of) == name]
        assert [of["spec"]["selector"]["matchLabels"] for of in budgets] == [selector], where
    for scaler in (of for of in objects if of["kind"] == "HorizontalPodAutoscaler"):
        target = found[component(scaler)]
        assert scaler["spec"]["scaleTargetRef"]["kind"] == target["kind"], where
        assert scaler["spec"]["scaleTargetRef"]["name"] == target["metadata"]["name"], where
        assert "replicas" not in target["spec"], f"{where}: an upgrade would undo what the autoscaler has done"
    # each has the secrets that are its business
    databases = {"DB_PASSWORD", "DATABASE_URL"}
    assert not secrets["gateway"], f"{where}: {secrets['gateway']}"
    assert not secrets["provider-router"] & databases, where
    for name in SERVICES - {"provider-router"}:
        assert not any("API_KEY" in variable for variable in secrets[name]), f"{where}: {name} has {secrets[name]}"


def values_match_the_schema():
    """values.schema.json takes every set, and refuses what it should."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    checker = jsonschema.Draft7Validator(schema)
    for name in (None, *VALUES):
        checker.validate(merged(name))
    for place, wrong in (("gateway", {"replicaz": 1}), ("router", {"service": {}}), ("database", {"port": "5432"}), ("unknown", {}),
                         ("mtls", {"gatewayClients": "none"}), ("jobs", {"cleanup": {}})):
        values = merged(None)
        values[place] = {**values.get(place, {}), **wrong}
        assert not checker.is_valid(values), f"{place}: {wrong} was taken"


def every_set_of_values_renders_and_validates():
    """The chart, in all sets of values and their variants, for two versions of Kubernetes."""
    for values in VALUES:
        for version in KUBERNETES:
            objects = chart(values, version=version)
            validate(objects, values)
            looks_right(objects, values)
    for name, values, settings in VARIANTS:
        objects = chart(values, settings)
        validate(objects, name)
        looks_right(objects, name)


def hooks_and_jobs_are_what_they_say():
    """Migrations are a hook on a configuration of their own; jobs by the clock are off until somebody wants them."""
    objects = chart("existing")
    job, = (one for one in objects if one["kind"] == "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][:2] == ["database", "migrate"]
    config = pod["volumes"][0]["configMap"]["name"]
    hook, = (one for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"] == config)
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    weights = [int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) for one in (hook, job)]
    assert weights[0] < weights[1], "the Job would start before its configuration is there"
    for values in VALUES:
        assert not [one for one in chart(values) if one["kind"] == "CronJob"], f"{values} turns on jobs that nobody has asked for"
    name, values, settings = next(variant for variant in VARIANTS if variant[0] == "all jobs")
    jobs = {one["metadata"]["name"]: one for one in chart(values, settings) if one["kind"] == "CronJob"}
    assert len(jobs) == 4, jobs.keys()
    for cron in jobs.values():
        is_locked_down(cron["spec"]["jobTemplate"]["spec"]["template"]["spec"], cron["metadata"]["name"])


def rules_and_dashboards_are_those_of_the_repository():
    """PrometheusRule and the dashboards' ConfigMaps hold the files of monitoring/."""
    _, values, settings = next(variant for variant in VARIANTS if variant[0] == "all monitoring")
    objects = chart(values, settings)
    rules = [one["spec"] for one in objects if one["kind"] == "PrometheusRule"]
    files = [yaml.safe_load((ROOT / "monitoring" / "rules" / f"{name}.yaml").read_text()) for name in ("embermesh", "guide")]
    assert rules == files
    shown = {}
    for one in objects:
        if one["kind"] == "ConfigMap" and one["metadata"]["labels"].get("grafana_dashboard") == "1":
            shown |= {name: json.loads(text) for name, text in one["data"].items()}
    assert shown == {path.name: json.loads(path.read_text()) for path in (ROOT / "monitoring" / "dashboards").glob("*.json")}
    monitor, = (one for one in objects if one["kind"] == "ServiceMonitor")
    port, = {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]}
    exposing = [one for one in objects if one["kind"] == "Service" and port in {of.get("name") for of in one["spec"]["ports"]}]
    assert {component(one) for one in exposing} == SERVICES, "every service is scraped, and once"
    assert len(exposing) == len(SERVICES)


def kustomizations_validate():
    """k8s/: base and overlays, for two versions of Kubernetes."""
    for folder in ("base", "overlays/small", "overlays/production"):
        objects = kustomization(folder)
        validate(objects, folder)
        looks_right(objects, folder)
        assert all(one["metadata"].get("namespace", "developer-mesh") == "developer-mesh" for one in objects), folder
        config, = (one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap")
        for one in workloads(objects).values():
            mounted = [volume["configMap"]["name"] for volume in one["spec"]["template"]["spec"].get("volumes", []) if "configMap" in volume]
            assert mounted in ([], [config]), f"{folder}: {one['metadata']['name']} mounts {mounted}, there is {config}"


def the_guides_names_are_there():
    """What the operations guide calls by name."""
    objects = kustomization("base")
    by = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    api = by["Deployment", "embedding-api"]
    assert api["metadata"]["namespace"] == "developer-mesh" and container(api)["name"] == "rest-api"
    assert api["spec"]["template"]["metadata"]["labels"]["app"] == "embedding-api", "kubectl logs -l app=embedding-api"
    assert container(api)["ports"][0]["containerPort"] == 8081
    assert container(api)["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2000m", "memory": "4Gi"}}
    service = by["Service", "embedding-api"]["spec"]
    assert service["type"] == "LoadBalancer" and service["ports"][0]["port"] == 80
    scaler = by["HorizontalPodAutoscaler", "embedding-api-hpa"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
    assert [metric["resource"]["target"]["averageUtilization"] for metric in scaler["metrics"]] == [70, 80]
    router = container(workloads(objects)["provider-router"])
    key, = (one["valueFrom"]["secretKeyRef"] for one in router["env"] if one["name"] == "OPENAI_API_KEY")
    assert key == {"name": "embedding-secrets", "key": "openai-api-key"}
    values = {one["name"]: one.get("value") for one in router["env"]}
    assert (values["BEDROCK_ENABLED"], values["AWS_REGION"]) == ("true", "us-east-1")


def documents_name_what_there_is():
    """Objects, folders and values files that docs/kubernetes.md speaks of."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    objects = chart("small") + chart("production") + kustomization("base")
    names = {one["metadata"]["name"] for one in objects}
    kinds = {(one["kind"].lower(), one["metadata"]["name"]) for one in objects}
    commands = "\n".join(re.findall(r"```console\n(.*?)```", text, re.S))
    for kind, name in re.findall(r"\b(deployment|statefulset)[ /]([a-z-]+)", commands):
        assert (kind, name) in kinds, f"there is no {kind} {name}"
    for pod in re.findall(r"exec ([a-z-]+)-0 ", commands):
        assert ("statefulset", pod) in kinds, pod
    assert {"embedding-api", "embedding-api-hpa"} <= names
    for path in re.findall(r"\b(?:helm|k8s)/[\w/.-]+\w", text):
        assert (ROOT / path).exists(), path


def base_is_what_the_chart_renders():
    """k8s/base and k8s/components are not older than the chart."""
    chart("small")
    run(sys.executable, ROOT / "k8s" / "render.py", "--check")


if __name__ == "__main__":
    main(
        values_match_the_schema,
        every_set_of_values_renders_and_validates,
        hooks_and_jobs_are_what_they_say,
        rules_and_dashboards_are_those_of_the_repository,
        kustomizations_validate,
        the_guides_names_are_there,
        documents_name_what_there_is,
        base_is_what_the_chart_renders,
    )
