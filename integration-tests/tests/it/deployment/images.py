"""Dockerfile, docker-bake.hcl and compose.yaml, as far as they can be looked at where no container engine runs.

usage: images.py FOLDER-OF-THE-BINARIES
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

from rendering import ROOT, Skip, main, run

IMAGES = {"rest-api", "provider-router", "provider-router-minilm", "cost-ledger", "vector-store", "admin", "embermesh"}
# not from scratch: it has PostgreSQL's programs
OPERATIONS = "operations"


def stages():
    """The instructions of every stage of the Dockerfile, by its name."""
    text = (ROOT / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    found, at = {}, None
    for line in filter(str.strip, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, at = re.fullmatch(r"(\S+) AS (\S+)", rest).groups()
            found[at] = list(found.get(parent, []))
        elif at:
            found[at].append((word, rest))
    return found


def every_image_is_locked_down():
    """From scratch, without rights, with a port of its own, and with what it is asked how it is."""
    found = stages()
    assert IMAGES <= found.keys()
    assert list(found)[-1] == "rest-api", "docker build . gives the last stage"
    for name in IMAGES:
        instructions = dict(found[name])
        assert instructions["USER"] == "65532:65532" and instructions["STOPSIGNAL"] == "SIGTERM", name
        assert instructions["ENTRYPOINT"].startswith('["/usr/bin/embermesh'), name
        assert not any(word == "RUN" for word, _ in found[name]), f"{name} is from scratch"
        if name != "embermesh":
            assert '"curl"' in instructions["HEALTHCHECK"] and instructions["EXPOSE"] in instructions["HEALTHCHECK"], name
    assert "/health/ready" in dict(found["rest-api"])["HEALTHCHECK"]
    operations = dict(found[OPERATIONS])
    assert operations["USER"] == "65532:65532" and operations["STOPSIGNAL"] == "SIGTERM"
    assert operations["ENTRYPOINT"] == '["/usr/bin/embermesh"]' and "/usr/lib/postgresql/" in operations["ENV"]
    baked = set(re.findall(r'"([a-z-]+)"', (ROOT / "docker-bake.hcl").read_text().split("matrix")[1].split("}")[0]))
    assert baked == IMAGES | {OPERATIONS}


def the_context_holds_what_is_built():
    """.dockerignore lets every member of the workspace through, and everything that the Dockerfile copies."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in ("Cargo.toml", "Cargo.lock", "crates", "services", "bench", "integration-tests", "migrations", "proto"):
        assert path in kept, path
    with tempfile.TemporaryDirectory() as folder:
        for path in kept:
            (pathlib.Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (pathlib.Path(folder) / path).symlink_to(ROOT / path)
        run("cargo", "metadata", "--no-deps", "--locked", "--offline", "--format-version", "1", cwd=folder)
    for word, rest in (one for of in stages().values() for one in of):
        for path in re.findall(r"scripts/[\w.-]+", rest) if word == "COPY" and "--from" not in rest else []:
            assert path in kept, f"{path} is not in the context"


def compose_is_the_guides_stack():
    """The guide's services and variables, by the schema of Compose, and as a stack where there is Docker's command line."""
    run(pathlib.Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", ROOT / "compose.yaml")
    text = (ROOT / "compose.yaml").read_text()
    for variable in ("DOCKER_REGISTRY", "VERSION", "OPENAI_ENABLED", "OPENAI_API_KEY", "BEDROCK_ENABLED", "AWS_REGION", "DATABASE_HOST",
                     "REDIS_CLUSTER_ENDPOINTS", "DB_PASSWORD"):
        assert "${" + variable in text, f"{variable} is the guide's"
    stack = yaml.safe_load(text)
    services = stack["services"]
    assert {"rest-api", "postgres", "redis"} <= services.keys()
    assert services["rest-api"]["healthcheck"]["test"] == ["CMD", "curl", "-f", "http://localhost:8081/health/ready"]
    deploy = services["rest-api"]["deploy"]
    assert deploy["replicas"] == 3
    assert deploy["resources"] == {"limits": {"cpus": "2", "memory": "4G"}, "reservations": {"cpus": "0.5", "memory": "1G"}}
    assert (deploy["restart_policy"]["condition"], deploy["restart_policy"]["delay"]) == ("on-failure", "5s")
    assert {"postgres-data", "redis-data"} <= stack["volumes"].keys()
    assert services["redis"]["command"].startswith("redis-server --appendonly yes")
    database = {"POSTGRES_DB": "embeddings", "POSTGRES_PASSWORD": services["admin"]["environment"]["DB_PASSWORD"]}
    assert database.items() <= services["postgres"]["environment"].items()
    needed = {of: services[of]["depends_on"] for of in ("vector-store", "cost-ledger", "admin")}
    assert all("postgres" in others for others in needed.values()) and "redis" in needed["vector-store"]
    assert services["postgres"]["image"].startswith("pgvector/pgvector:") and services["redis"]["image"] == "redis:7-alpine"
    network = stack["networks"]["embedding-network"]
    assert network["driver"] == "overlay" and network["driver_opts"] == {"encrypted": "true"}
    for name, one in services.items():
        assert "max_attempts" not in one["deploy"]["restart_policy"], f"{name} would give up"
        if one["image"].startswith("$"):
            image = re.search(r"developer-mesh/([\w-]+):", one["image"])[1]
            assert image in IMAGES, image
            assert one["read_only"] and one["cap_drop"] == ["ALL"] and one["user"] == "65532:65532", name
    assert run_stack() is None


def run_stack():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "stack", "config", "--help"], capture_output=True).returncode:
        print("note: no `docker stack config` here, the stack was held against the schema alone")
        return
    run(docker, "stack", "config", "-c", ROOT / "compose.yaml", env={**os.environ, "DB_PASSWORD": "a password"})


def a_binary_runs_in_the_root_of_its_image():
    """What scripts/image-root.sh lays out is enough for a service and for curl: in a chroot, without rights."""
    if os.geteuid():
        raise Skip("only root may chroot")
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        os.chmod(folder, 0o755)
        gateway = pathlib.Path(sys.argv[1]) / "embermesh-gateway"
        run(ROOT / "scripts" / "image-root.sh", root, gateway, shutil.which("curl"))
        inside = [shutil.which("chroot"), "--userspec=65532:65532", root]
        printed = run(*inside, "/usr/bin/embermesh-gateway", "--dump-config", env={"EMBERMESH__SERVER__LISTEN": "0.0.0.0:8081"})
        assert yaml.safe_load(printed)["server"]["listen"] == "0.0.0.0:8081"
        assert run(*inside, "/usr/bin/curl", "--version").startswith("curl ")
        assert not [path.name for path in (root / "usr/bin").iterdir() if path.name not in ("embermesh-gateway", "curl")]
        assert "embermesh:x:65532" in (root / "etc/passwd").read_text()


if __name__ == "__main__":
    main(
        every_image_is_locked_down,
        the_context_holds_what_is_built,
        compose_is_the_guides_stack,
        a_binary_runs_in_the_root_of_its_image,
    )
