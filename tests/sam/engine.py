"""The containers that `sam local` runs functions in: Docker's or Podman's if one answers, else our own Podman's."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException

from tests.sam.image import REPOSITORY, TAG, root_filesystem
from tests.sam.leftovers import engine_folder, network_name, remove_leftovers

# Commands, and the packages that bring them.
_DEBIAN = {"podman": "podman", "crun": "crun", "mmdebstrap": "mmdebstrap", "ip": "iproute2"}
_START_SECONDS = 30
_ASK_SECONDS = 10
_API = "1.41"
_WORK_SECONDS = 300
_HOST_IN_PODMAN = "host.containers.internal"
_HOST_IN_DOCKER = "host.docker.internal"
_KEEP_IMAGES = "--skip-pull-image"

# What it mounts hides this machine's folders, so no file of it is left when the last of its processes has ended. Podman
# refuses to make a network that is said to be the default.
_SERVICE = """
for folder in /run/netns /run/crun /run/libpod /run/containers /var/lib/cni; do
  mkdir -p $folder && mount -t tmpfs tmpfs $folder
done
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
set -- podman --root "$1/images" --runroot "$1/run" --storage-driver=overlay
"$@" network create "$NETWORK"
printf 'default_network = "%s"\n' "$NETWORK" >> "$CONTAINERS_CONF"
"$@" system service --time=0 "$ADDRESS" &
wait
"""
# All processes end with the first one of the namespace, and that one with ours, however it goes.
_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_END_WITH_US = ("setpriv", "--pdeathsig", "KILL")


class NoEngine(Exception):
    """Neither Docker nor Podman answers, and none can be set up here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A running engine: what SAM CLI is told, and what its containers see of this machine."""

    # Of SAM CLI's environment.
    variables: Mapping[str, str]
    # Of `sam local`. It takes an image that is there without asking a registry for a newer one.
    options: tuple[str, ...]
    # Folders that all containers see, at the same paths.
    shared: tuple[Path, ...]
    # The name under which containers reach this machine.
    host: str
    # Its address on their network, if it has one.
    gateway: str | None


@contextmanager
def container_engine(shared: Sequence[Path] = ()) -> Iterator[Engine]:
    """The engine that answers, which shares no folders; or one of our own, which ends with the block.

    Raises:
        NoEngine: there is none.
    """
    if (found := _answering()) is not None:
        yield found
        return
    if os.geteuid() != 0:
        raise NoEngine("no Docker or Podman answers, and only root can set one up")
    if missing := [package for command, package in _DEBIAN.items() if shutil.which(command) is None]:
        raise NoEngine(f"no Docker or Podman answers; on Debian: apt-get install {' '.join(missing)}")
    with _own(shared) as engine:
        yield engine


def _answering() -> Engine | None:
    sockets = ("/var/run/docker.sock", f"{os.environ.get('XDG_RUNTIME_DIR', '/run')}/podman/podman.sock")
    for address in filter(None, (os.environ.get("DOCKER_HOST"), *(f"unix://{path}" for path in sockets))):
        if not _listens(address):
            continue
        with suppress(DockerException), closing(docker.DockerClient(address, timeout=_ASK_SECONDS)) as client:
            networks = {network.name: network.attrs for network in client.networks.list()}
            network = networks.get("bridge") or networks.get("podman") or next(iter(networks.values()))
            rootless = "name=rootless" in client.info()["SecurityOptions"]
            gateway = None if rootless else _gateway(network)
            if any(component["Name"] == "Podman Engine" for component in client.version()["Components"]):
                return Engine({"DOCKER_HOST": address}, (_KEEP_IMAGES,), (), _HOST_IN_PODMAN, gateway)
            options = (_KEEP_IMAGES, "--add-host", f"{_HOST_IN_DOCKER}:host-gateway")
            return Engine({"DOCKER_HOST": address}, options, (), _HOST_IN_DOCKER, gateway)
    return None


def _listens(address: str) -> bool:
    """Whether somebody listens there; the client itself would leave its end of a socket open that nobody hears."""
    if not address.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as tried:
        return tried.connect_ex(address.removeprefix("unix://")) == 0


@contextmanager
def _own(shared: Sequence[Path]) -> Iterator[Engine]:
    tar = root_filesystem()
    remove_leftovers()
    network = network_name(os.getpid())
    folder = engine_folder(os.getpid())
    address = f"unix://{folder}/podman.sock"
    configuration = folder / "containers.conf"
    configuration.write_text(_configuration(folder, shared))
    given = {"CONTAINERS_CONF": str(configuration), "NETWORK": network, "ADDRESS": address}
    log = folder / "podman.log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [*_END_WITH_US, *_NAMESPACES, "sh", "-ec", _SERVICE, "sh", folder],
            env={**os.environ, **given},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    client = docker.DockerClient(base_url=address, version=_API, timeout=_WORK_SECONDS)
    gateway = None
    try:
        _wait(address, service, log)
        _import(client, tar)
        gateway = _gateway(client.networks.get(network).attrs)
        yield Engine({"DOCKER_HOST": address}, (_KEEP_IMAGES,), tuple(shared), _HOST_IN_PODMAN, gateway)
    finally:
        with suppress(DockerException, OSError):
            for container in client.containers.list(all=True):
                container.remove(force=True)
        client.close()
        service.kill()
        service.wait()
        _remove_bridge(gateway)
        shutil.rmtree(folder)


def _wait(address: str, service: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not _listens(address):
        if service.poll() is not None or time.monotonic() > until:
            raise NoEngine(f"no Docker or Podman answers, and our own did not start: {log.read_text()}")
        time.sleep(0.1)


def _import(client: docker.DockerClient, tar: Path) -> None:
    imported = json.loads(client.api.import_image_from_file(str(tar), repository=REPOSITORY, tag=TAG))["id"]
    # Podman before version 5 forgets the tag.
    client.images.get(imported).tag(REPOSITORY, tag=TAG)


def _gateway(network: Mapping[str, Any]) -> str:
    return str(network["IPAM"]["Config"][0]["Gateway"])


def _remove_bridge(gateway: str | None) -> None:
    for interface in json.loads(subprocess.check_output(["ip", "-json", "address"])):
        if any(address.get("local") == gateway for address in interface["addr_info"]):
            subprocess.run(["ip", "link", "delete", interface["ifname"]], check=False)


def _configuration(folder: Path, shared: Sequence[Path]) -> str:
    """Podman's, for a machine whose cgroups belong to somebody else; JSON's lists and strings are TOML's too."""
    return f"""\
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
volumes = {json.dumps([f"{path}:{path}" for path in shared])}
[engine]
runtime = "crun"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{folder}/networks"
"""
