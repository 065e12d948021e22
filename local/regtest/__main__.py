"""Pays an address of regtest and mines, as `make faucet` does; see --help."""

import argparse
import json
import re
import sys
from decimal import Decimal
from pathlib import Path

from local import console
from local.options import VOLUME, read_environment
from local.regtest.node import NodeFailed, ask
from local.volume import REGTEST_FILE

_AMOUNT = re.compile(r"(?P<sat>[0-9]{1,16})|(?P<btc>[0-9]{1,8}(?:\.[0-9]{1,8})?)\s?btc", re.ASCII | re.IGNORECASE)
_SAT_PER_BTC = 10**8


def main() -> int:
    environment = read_environment()
    parser = argparse.ArgumentParser(prog="python -m local.regtest", description=__doc__)
    parser.add_argument("address", nargs="?", help="an address of regtest; without one it only mines")
    parser.add_argument("amount", nargs="?", type=_satoshis, help="in satoshis as in 150000, or as in 0.0015BTC")
    parser.add_argument("--blocks", type=int, default=1, help="how many are mined then, 0 for none; %(default)s")
    parser.add_argument("--volume", type=Path, default=environment.get("LOCAL_VOLUME") or VOLUME)
    given = parser.parse_args()
    if given.address and given.amount is None:
        parser.error("how much?")
    try:
        url = _running(given.volume / REGTEST_FILE)
        if given.address:
            paid = ask(url, "pay", outputs=[{"address": given.address, "amount_sat": given.amount}])
            print(f"paid {given.amount} sat to {given.address} in transaction {paid['txid']}")
        if given.blocks:
            mined = ask(url, "mine", blocks=given.blocks)["hashes"]
            print(f"mined {len(mined)} {'block' if len(mined) == 1 else 'blocks'}, the last one {mined[-1]}")
    except NodeFailed as error:
        console.error(f"The faucet can't pay: {error}")
        return 1
    return 0


def _running(file: Path) -> str:
    try:
        return str(json.loads(file.read_text())["url"])
    except (OSError, ValueError):
        raise NodeFailed("no regtest node runs here; start it by `make run BITCOIN=regtest`") from None


def _satoshis(text: str) -> int:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount like 150000 (satoshis) or 0.0015BTC")
    return int(match["sat"]) if match["sat"] else int(Decimal(match["btc"]) * _SAT_PER_BTC)


if __name__ == "__main__":
    sys.exit(main())
