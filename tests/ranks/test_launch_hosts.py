"""The recipes of `launch/` for several machines, and for Kubernetes, on two hosts with a network of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ranks.hosts import NO_NAMES, Host, cut_link, restore_link, two_hosts
from tests.ranks.launched import BODY, LAUNCH, LONGEST, ROOT, SAMPLES, Started, check

pytestmark = [
    pytest.mark.timeout(LONGEST + 30),
    pytest.mark.skipif(sys.platform != "linux", reason="the recipes are for Linux"),
]


@contextmanager
def hosts(folder: Path, names: str = NO_NAMES) -> Iterator[tuple[Host, Host]]:
    try:
        with two_hosts(folder, names) as made:
            yield made
    except OSError as error:
        pytest.skip(f"hosts cannot be made here: {error}")


@contextmanager
def running(started: list[Started]) -> Iterator[None]:
    """Let them run while a test does something, and come to their ends; nothing is left of them."""
    try:
        yield
        for one in started:
            one.said()
    finally:
        for one in started:
            one.kill()


def on_hosts(both: Sequence[Host], folder: Path, task: str, **of_beta: str) -> list[Started]:
    """Start the recipe on both, edited as a user does."""
    words = ["bash", str(LAUNCH / "torchrun_hosts.sh"), BODY, str(folder), task]
    return [
        Started(
            host.command(*words, cwd=ROOT),
            folder / f"{host.name}.log",
            FIRST=both[0].address,
            INTERFACE=host.interface,
            RANKS="1",
            LOGS=str(folder / f"logs-{host.name}"),
            **(of_beta if host.name == "beta" else {}),
        )
        for host in both
    ]


PLAIN = ["torchrun", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "job"]


@pytest.mark.parametrize(
    ("names", "error"),
    [(NO_NAMES, "socket.gaierror"), (f"{NO_NAMES}127.0.1.1 alpha\n", "RendezvousConnectionError")],
    ids=["a name that is not known", "a name that is loopback"],
)
def test_a_plain_torchrun_on_a_host_whose_name_does_not_lead_to_it(tmp_path: Path, names: str, error: str) -> None:
    """This is why the recipe says more; the first host alone shows it."""
    with hosts(tmp_path, names) as (alpha, _):
        short = ["--rdzv-endpoint", f"{alpha.address}:29500", "--rdzv-conf", "read_timeout=1"]
        said = Started(alpha.command(*PLAIN, *short, BODY, cwd=ROOT), tmp_path / "launcher.log").said(code=None)
    assert error in said.strip().splitlines()[-1]


def test_an_interface_that_is_not_there(tmp_path: Path) -> None:
    words = ["bash", str(LAUNCH / "torchrun_hosts.sh")]
    said = Started(words, tmp_path / "launcher.log", INTERFACE="none7").said(code=2)
    assert "INTERFACE=none7 has no IPv4 address" in said
    assert "127.0.0.1" in said, "those that there are"


def test_the_link_between_two_hosts_is_cut_and_comes_back(tmp_path: Path) -> None:
    """Both sides say so within the timeout, have what they have counted, and have the whole when the link is back."""
    for rank in range(2):
        for direction in ("from", "to"):
            os.mkfifo(tmp_path / f"{direction}-{rank}")
    with hosts(tmp_path) as both, running(on_hosts(both, tmp_path, "cut")):
        heard(tmp_path, "here")
        cut_link(both[0])
        answer(tmp_path)
        heard(tmp_path, "told")
        restore_link(both[0])
        answer(tmp_path)
    said = check(tmp_path)
    assert {one["address"] for one in said} == {both[0].address}
    assert [one["missing"] for one in said] == [[1], []], "rank 1 cannot ask who has come: rank 0 has the store"
    assert max(one["seconds"] for one in said) < 3.0 + 1.0 + 6.0  # the last ones for a machine that is busy
    assert sorted(said[0]["alone"]["rows"] + said[1]["alone"]["rows"]) == list(range(SAMPLES))
    for one, host in zip(said, both, strict=True):
        (log,) = (tmp_path / f"logs-{host.name}").rglob("stderr.log")
        assert one["error"].splitlines()[0] in log.read_text(), "it is in the rank's own log"


def heard(folder: Path, word: str) -> None:
    """Wait until each rank has said a word."""
    assert [(folder / f"from-{rank}").read_text() for rank in range(2)] == [f"{word}\n"] * 2


def answer(folder: Path) -> None:
    for rank in range(2):
        (folder / f"to-{rank}").write_text("go\n")


def test_a_host_whose_clock_is_an_hour_off(tmp_path: Path) -> None:
    """A clock cannot be set for one process, so a library tells the processes of one host another time."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler, for the library that tells a process a wrong time")
    library = tmp_path / "clock.so"
    source = str(Path(__file__).with_name("clock.c"))
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True, timeout=60)
    off = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": "-3600"}
    with hosts(tmp_path) as both, running(on_hosts(both, tmp_path, "sync", **off)):
        pass  # to its end
    said = check(tmp_path)
    assert 3000 < said[0]["hour"] - said[1]["hour"] < 4200


# ---- Kubernetes -----------------------------------------------------------------------------------------------------


def manifests(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((LAUNCH / name).read_text()))


def test_the_job_of_kubernetes_is_valid() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate has the schemas")
    service, job = manifests("kubernetes_job.yaml")
    for manifest in (service, job):
        validate.validate(manifest, "1.31", strict=True)
        validate.validate(manifest, validate.latest_version(), strict=True)
    with pytest.raises(validate.ValidationError):
        validate.validate({**job, "spec": {**job["spec"], "completion": 2}}, "1.31", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job["metadata"]["name"]}
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(variables(job)["NODES"])


def test_the_job_of_kubeflow_trainer_is_valid() -> None:
    models = pytest.importorskip(
        "kubeflow_trainer_api.models.trainer_v1alpha1_train_job", reason="kubeflow-trainer-api has the models"
    )
    (job,) = manifests("kubeflow_trainjob.yaml")
    assert models.TrainerV1alpha1TrainJob.from_dict(job).to_dict() == job, "what it does not know, it leaves out"


def variables(job: Mapping[str, Any]) -> dict[str, str]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


@pytest.mark.parametrize("kind", ["indexed Job", "TrainJob"])
def test_what_the_pods_run(tmp_path: Path, kind: str) -> None:
    """There is no cluster here: the command of the manifest runs on two hosts that have what the cluster gives pods."""
    first = "train-0.train" if kind == "indexed Job" else "train-node-0-0.train"
    with hosts(tmp_path, f"{NO_NAMES}10.78.0.1 {first}\n") as both:
        started = [
            Started(host.command(*command, cwd=ROOT), tmp_path / f"{host.name}.log", **environment)
            for number, host in enumerate(both)
            for command, environment in [as_in_pod(kind, first, number, host, tmp_path)]
        ]
        with running(started):
            pass  # to its end
    assert {one["address"] for one in check(tmp_path)} == {first}


def as_in_pod(kind: str, first: str, number: int, host: Host, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Give the command of a pod, and what is in its environment."""
    network = {"GLOO_SOCKET_IFNAME": host.interface, "NCCL_SOCKET_IFNAME": host.interface}
    if kind == "indexed Job":
        _, job = manifests("kubernetes_job.yaml")
        (container,) = job["spec"]["template"]["spec"]["containers"]
        edited = {"RANKS": "1", "SCRIPT": f"{BODY} {folder} sync", "ADDRESS": host.address, **network}
        return container["command"], {**variables(job), **edited, "JOB_COMPLETION_INDEX": str(number)}
    (job,) = manifests("kubeflow_trainjob.yaml")
    trainer = job["spec"]["trainer"]
    options = [word for word in trainer["args"] if word.startswith(("--log-dir", "--tee"))]
    given = {
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_NODE_RANK": str(number),
        "PET_MASTER_ADDR": first,
        "PET_MASTER_PORT": "29500",
    }
    return [*trainer["command"], *options, BODY, str(folder), "sync"], {**network, **given}
