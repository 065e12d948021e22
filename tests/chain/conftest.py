import shutil
from collections.abc import Iterator

import pytest

from local.regtest.node import Node, install
from tests.chain.regtest import Regtest
from tests.integration.conftest import api, client, event_loop

__all__ = ["api", "client", "event_loop"]


@pytest.fixture(scope="session")
def regtest() -> Iterator[Regtest]:
    if shutil.which("npm") is None:
        pytest.skip("Node.js (npm is not installed)")
    node = Node(install())
    yield Regtest(node)
    node.stop()
