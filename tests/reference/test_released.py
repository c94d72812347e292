"""The rule that fills a released network gives the values that the golden files state."""

import numpy as np
import pytest

from reference.released import FOLDER, golden, released_state

NETWORKS = [file.stem for file in sorted(FOLDER.glob("*.json")) if "state" in golden(file.stem)]
SMALL = ("sop-synthesizer", "iquery-predictor")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in SMALL else pytest.mark.slow) for name in NETWORKS],
)
def test_the_rule_fills_tensors_as_the_golden_file_checks(name):
    file = golden(name)
    state = released_state(file)
    for key, first, last, mean in file["fill"]["checks"]["rows"]:
        values = state[key].double().numpy().ravel()
        np.testing.assert_allclose(
            [values[0], values[-1], values.mean()], [first, last, mean], rtol=1e-6, atol=1e-9
        )
