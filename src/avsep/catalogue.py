"""Names and sizes that help and `avsep models` print, kept in a file beside this one.

Their modules load PyTorch, which takes seconds. `python tools/draw_catalogue.py` writes the file
from those modules, and a test compares both.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

CATALOGUE_FILE = Path(__file__).with_name("catalogue.json")


@dataclass(frozen=True)
class ModelInfo:
    """One entry of `avsep models`.

    Attributes:
        kind: baseline (and ceiling): computed from the true sources; weights: trained and shipped;
            system: a paper's network, to be trained.
        num_trained, num_frozen: parameters; of a system at the paper's size.
        package: package to install before a system can be built.
        categories: those that shipped weights distinguish.
        measured: scores from the checkpoint's metadata, by what was measured.
    """

    name: str
    kind: Literal["baseline", "weights", "system"]
    description: str
    num_trained: int | None = None
    num_frozen: int | None = None
    package: str | None = None
    megabytes: float | None = None
    categories: tuple[str, ...] | None = None
    measured: dict[str, object] | None = None

    def as_json(self) -> dict[str, object]:
        """Return the fields that are set."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class SettingHelp:
    """Help of a setting: its description, its choices (empty: any value) and its default."""

    text: str
    choices: tuple[str, ...]
    default: Any


@dataclass(frozen=True)
class Catalogue:
    """The contents of the file.

    Attributes:
        models: baselines and ceilings, then shipped weights, then systems.
        default_model: the model of `avsep separate`.
        separator_settings: the fields of `SeparatorSettings`.
        output_settings: the fields of `OutputSettings`.
        evaluation_settings: names of the fields of `EvaluationSettings`.
        num_mixtures: number of mixtures that an evaluation draws by default.
        metrics, set_metrics, cue_ablations, released_systems: names in METRICS, SET_METRICS,
            CUE_ABLATIONS, and SYSTEMS of conversion.py.
    """

    models: tuple[ModelInfo, ...]
    default_model: str
    separator_settings: Mapping[str, SettingHelp]
    output_settings: Mapping[str, SettingHelp]
    evaluation_settings: tuple[str, ...]
    num_mixtures: int
    metrics: tuple[str, ...]
    set_metrics: tuple[str, ...]
    cue_ablations: tuple[str, ...]
    released_systems: tuple[str, ...]


@cache
def read_catalogue() -> Catalogue:
    """Read the file."""
    values = json.loads(CATALOGUE_FILE.read_text(encoding="utf-8"))
    groups = {
        group: {name: SettingHelp(**item) for name, item in values.pop(group).items()}
        for group in ("separator_settings", "output_settings")
    }
    models = tuple(ModelInfo(**entry) for entry in values.pop("models"))
    return Catalogue(models=models, **groups, **values)
