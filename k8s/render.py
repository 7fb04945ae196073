#!/usr/bin/env python3
"""Writes k8s/base and k8s/components from the Helm chart, so that both ways of installing are one.

Needs PyYAML, and `helm` or `helm-template` on the PATH.

usage: render.py           write them
       render.py --check   exit with 1 when a file is not what would be written, with 3 when nothing can render
"""

import pathlib
import shutil
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).parent
CHART = HERE.parent / "helm" / "embermesh"
NAMESPACE = "developer-mesh"
HEADER = "# Rendered from helm/embermesh with k8s/values.yaml by k8s/render.py: change those.\n"
# of Helm alone
LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")
# kustomize gives the ConfigMap a name with a hash, which does the same
ANNOTATIONS = ("checksum/config",)


def rendered(*settings):
    """The objects of the chart."""
    if helm := shutil.which("helm"):
        sets = [part for setting in settings for part in ("--set", setting)]
        command = [helm, "template", "embedding", str(CHART), "--namespace", NAMESPACE, "-f", str(HERE / "values.yaml"), "--skip-tests", *sets]
    elif helm := shutil.which("helm-template"):
        sets = [part for setting in settings for part in ("-set", setting)]
        command = [helm, "-name", "embedding", "-namespace", NAMESPACE, "-f", str(HERE / "values.yaml"), *sets, str(CHART)]
    else:
        print("neither helm nor helm-template is on the PATH", file=sys.stderr)
        sys.exit(3)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [plain(one) for one in yaml.safe_load_all(done.stdout) if one]


def plain(tree):
    """Without what only Helm needs."""
    if isinstance(tree, dict):
        kept = {}
        for key, value in tree.items():
            if key == "labels":
                value = {name: of for name, of in value.items() if name not in LABELS}
            if key == "annotations":
                value = {name: of for name, of in value.items() if name not in ANNOTATIONS}
                if not value:
                    continue
            kept[key] = plain(value)
        return kept
    return [plain(one) for one in tree] if isinstance(tree, list) else tree


def component(one):
    return one["metadata"]["labels"]["app.kubernetes.io/component"]


def identity(one):
    return one["kind"], one["metadata"]["name"]


def text(objects):
    return HEADER + yaml.safe_dump_all(objects, sort_keys=False, width=140)


def files():
    """What every file should hold, by path."""
    base = rendered()
    trial = rendered("trial.postgresql.enabled=true", "trial.redis.enabled=true", "database.sslMode=disable")
    wanted = {}
    for name in sorted({component(one) for one in base} - {"config"}):
        wanted[HERE / "base" / f"{name}.yaml"] = text([one for one in base if component(one) == name])
    wanted[HERE / "base" / "embermesh.yaml"] = HEADER + configuration(base)
    databases = HERE / "components" / "databases"
    known = {identity(one): one for one in base}
    own = [one for one in trial if component(one) in ("postgresql", "redis")]
    changed = [one for one in trial if one["kind"] == "NetworkPolicy" and identity(one) in known and one != known[identity(one)]]
    wanted[databases / "databases.yaml"] = text(own)
    wanted[databases / "networkpolicies.yaml"] = text(changed)
    wanted[databases / "embermesh.yaml"] = HEADER + configuration(trial)
    return wanted


def configuration(objects):
    (config,) = [one for one in objects if one["kind"] == "ConfigMap" and component(one) == "config"]
    return config["data"]["embermesh.yaml"]


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    wanted = files()
    stale = sorted(str(path.relative_to(HERE)) for path, text in wanted.items() if not path.is_file() or path.read_text() != text)
    if check:
        sys.exit(f"run k8s/render.py, these are not what it writes: {', '.join(stale)}" if stale else 0)
    for path, of in wanted.items():
        path.write_text(of)


if __name__ == "__main__":
    main()
