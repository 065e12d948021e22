from pathlib import Path

import pytest

from local.template import read_template
from local.volume import Volume

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mine"


@pytest.mark.parametrize(("arn", "own"), [("DATABASE_SECRET_ARN", "DATABASE_URL"), ("SECRET_KEY_ARN", "SECRET_KEY")])
def test_what_is_kept_elsewhere_is_not_made_up(tmp_path: Path, arn: str, own: str) -> None:
    volume = Volume(tmp_path)
    function = read_template(TEMPLATE).functions["ClientFunction"]

    without, with_arn = (volume.variables(function, given, "http://here") for given in ({}, {arn: ARN}))
    volume.close()

    assert without[own]
    assert with_arn[own] == ""
    assert with_arn[arn] == ARN
