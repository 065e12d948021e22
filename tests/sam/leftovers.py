"""What an engine that was killed leaves: its folder, a bridge, and rules for ports of containers that are gone.

Whoever connects to such a port waits for ever, and a later container may be given it.
"""

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from ipaddress import ip_interface, ip_network
from pathlib import Path

# Names say whose it is, so that others know whether that one still runs.
_NETWORK = "sam-local-"
_FOLDER = "sam-engine-"
# How Podman's network plugins write it into a rule: https://www.cni.dev/plugins/current/meta/portmap/
_OF_NETWORK = re.compile(rf'name: \\"{_NETWORK}(\d+)\\"')


def network_name(process: int) -> str:
    """What the network of this process's engine is called."""
    return f"{_NETWORK}{process}"


def engine_folder(process: int) -> Path:
    """A new folder for this process's engine."""
    return Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{process}-"))


def remove_leftovers() -> None:
    """Removes what is left of engines whose processes have ended; root's iptables and ip do it."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*-*"):
        if not _runs(folder.name.removeprefix(_FOLDER).partition("-")[0]):
            # Its processes may be about to end; then the next engine removes what remains.
            shutil.rmtree(folder, ignore_errors=True)
    if shutil.which("iptables"):
        _remove_rules()


def _runs(process: str) -> bool:
    return Path("/proc", process).exists()


def _remove_rules() -> None:
    containers = set()
    for rule in _rules("nat"):
        network = _OF_NETWORK.search(rule)
        if network is None or _runs(network[1]):
            continue
        words = shlex.split(rule)
        chain = words[words.index("-j") + 1]
        _iptables("nat", "-D", *words[1:])
        _iptables("nat", "-F", chain)
        _iptables("nat", "-X", chain)
        if "-s" in words:
            containers.add(words[words.index("-s") + 1])
    for rule in _rules("filter"):
        words = shlex.split(rule)
        if containers.intersection(words):
            _iptables("filter", "-D", *words[1:])
    _remove_bridges(containers)


def _remove_bridges(containers: set[str]) -> None:
    """Of the networks that these were on."""
    for interface in json.loads(subprocess.check_output(["ip", "-json", "address", "show", "type", "bridge"])):
        networks = [ip_interface(f"{of['local']}/{of['prefixlen']}").network for of in interface.get("addr_info", ())]
        if any(ip_network(container).subnet_of(network) for container in containers for network in networks):
            subprocess.run(["ip", "link", "delete", interface["ifname"]], check=False)


def _rules(table: str) -> list[str]:
    listed = subprocess.run(["iptables", "-t", table, "-S"], capture_output=True, text=True, check=False).stdout
    return [line for line in listed.splitlines() if line.startswith("-A")]


def _iptables(table: str, *change: str) -> None:
    subprocess.run(["iptables", "-w", "-t", table, *change], check=False)
