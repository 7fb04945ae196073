"""Renders the chart and the kustomizations with what is on the PATH."""

import pathlib
import shutil
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[4]
CHART = ROOT / "helm" / "embermesh"
RELEASE, NAMESPACE = "embermesh", "developer-mesh"
# names of kinds that clusters have only with an operator; no schema of theirs is here
OF_OPERATORS = {"Certificate", "ServiceMonitor", "PrometheusRule", "ExternalSecret"}
VALUES = ("small", "production", "existing")
# what the sets do not have: (name, values file, settings)
VARIANTS = (
    ("no policies", "existing", ["networkPolicy.enabled=false", "migrations.enabled=false"]),
    ("mutual TLS at the gateway", "production", ["mtls.gatewayClients=mutual", "mtls.certManager.enabled=false"]),
    ("one-sided TLS", "production", ["mtls.gatewayClients=one_sided"]),
    ("everything on disk", "existing", [f"{key}.persistence.enabled=true" for key in ("gateway", "ledger", "store")]),
    ("nothing on disk", "small", ["router.persistence.enabled=false", "admin.persistence.enabled=false"]),
    ("all jobs", "production", [f"jobs.{job}.enabled=true" for job in ("backup", "maintenance", "restoreDrill", "keyRotation")]
     + ["secrets.keys.adminKey=admin-key", "jobs.keyRotation.claim=rotated-keys"]),
    ("all monitoring", "small", ["monitoring.serviceMonitor.enabled=true", "monitoring.rules.enabled=true", "monitoring.rules.guide=true",
                                 "monitoring.dashboards.enabled=true"]),
    ("made secret", "existing", ["secrets.create=true"]),
)


class Skip(Exception):
    """Something that cannot be had here is missing; says what."""


def run(*command, **more):
    """What a command printed; its errors are the test's."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode:
        raise AssertionError(f"{' '.join(str(part) for part in command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def chart(values=None, settings=(), version="1.31.0"):
    """The objects of the chart with one of the values files."""
    files = ["-f", CHART / "values" / f"{values}.yaml"] if values else []
    if helm := shutil.which("helm"):
        sets = [part for setting in settings for part in ("--set", setting)]
        text = run(helm, "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", version, "--skip-tests", *files, *sets)
    elif helm := shutil.which("helm-template"):
        sets = [part for setting in settings for part in ("-set", setting)]
        text = run(helm, "-name", RELEASE, "-namespace", NAMESPACE, "-kube-version", version, *files, *sets, CHART)
    else:
        raise Skip("neither helm nor helm-template is on the PATH: nothing renders the chart")
    return [one for one in yaml.safe_load_all(text) if one]


def kustomization(folder):
    """The objects of a folder under k8s/."""
    if kubectl := shutil.which("kubectl"):
        text = run(kubectl, "kustomize", ROOT / "k8s" / folder)
    elif kustomize := shutil.which("kustomize"):
        text = run(kustomize, "build", ROOT / "k8s" / folder)
    else:
        raise Skip("neither kubectl nor kustomize is on the PATH: nothing builds k8s/")
    return [one for one in yaml.safe_load_all(text) if one]


def merged(values):
    """The values that a set comes to, as Helm merges them."""
    def lay(over, under):
        for key, value in over.items():
            if isinstance(value, dict) and isinstance(under.get(key), dict):
                lay(value, under[key])
            else:
                under[key] = value
        return under

    under = yaml.safe_load((CHART / "values.yaml").read_text())
    return lay(yaml.safe_load((CHART / "values" / f"{values}.yaml").read_text()), under) if values else under


def workloads(objects):
    """Deployments and StatefulSets by component."""
    return {component(one): one for one in objects if one["kind"] in ("Deployment", "StatefulSet")}


def component(one):
    return one["metadata"]["labels"]["app.kubernetes.io/component"]


def container(workload):
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


def main(*checks):
    """Runs checks one after the other; prints `checked`, or why nothing could be."""
    for check in checks:
        try:
            check()
        except Skip as missing:
            print(f"SKIPPED {check.__name__}: {missing}")
        else:
            print(f"ok {check.__name__}: {(check.__doc__ or '').strip().splitlines()[0] if check.__doc__ else ''}")
    print("checked")
