"""Serves the whole API on this machine: `python -m local`, or `make run`."""

import errno
import socket
import sys

import uvloop

from local import console
from local.deployment import DeploymentFailed
from local.emulator import Emulator
from local.options import Options, read_environment, read_options
from local.regtest.node import Node, NodeFailed, install
from local.template import TemplateError, read_template
from local.volume import Volume, VolumeInUse

# In use, or only for root.
_PORT_ERRORS = frozenset({errno.EADDRINUSE, errno.EACCES})


def main() -> int:
    options = read_options(sys.argv[1:], read_environment())
    try:
        template = read_template(options.template)
    except TemplateError as error:
        console.error(f"The template can't be used: {error}")
        return 2
    try:
        listener = _listener(options)
    except OSError as error:
        advice = " Choose another port with API_PORT=8001 or --port 8001."
        console.error(
            f"Can't listen on {options.host}:{options.port}: {error.strerror}."
            f"{advice if error.errno in _PORT_ERRORS else ''}"
        )
        return 1
    try:
        volume = Volume(options.volume)
    except (VolumeInUse, OSError) as error:
        console.error(f"Can't start: {error}")
        return 1
    node: Node | None = None
    with listener:
        try:
            if options.regtest:
                node = Node(install(), volume.path / "regtest.blocks")
            variables = volume.regtest(node.url, node.esplora_url) if node else {}
            uvloop.run(Emulator(options, volume, template, listener, variables).run())
        except (DeploymentFailed, NodeFailed) as error:
            console.error(f"Can't start: {error}")
            return 1
        finally:
            if node:
                node.stop()
            volume.close()
    return 0


def _listener(options: Options) -> socket.socket:
    """Takes the port before anything is started, but does not listen yet: nobody connects before it is served."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((options.host, options.port))
    except OSError:
        listener.close()
        raise
    return listener


if __name__ == "__main__":
    sys.exit(main())
