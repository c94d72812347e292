"""Convert checkpoints that the papers' authors released into one file that describes itself."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel
from safetensors.torch import save
from torch import nn

from avsep.checkpoint import SUFFIX, is_checkpoint, save_checkpoint
from avsep.errors import InputError, unknown_name
from avsep.media.atomic import write_atomic
from avsep.models import MODELS, RELEASES
from avsep.models.base import ModelSettings, SeparationModel
from avsep.published_weights import read_all_tensors
from avsep.recipe import check_settings, merge, read_recipe
from avsep.released import Assignment, LeftOut, Part, ReleasedSystem, Weights, assign
from avsep.vision.clip_encoder import CLIP_WEIGHTS, load_clip
from avsep.vision.i3d import RELEASE as I3D_RELEASE

# Name of `avsep convert --as` -> its table.
SYSTEMS: dict[str, ReleasedSystem] = {**RELEASES, "i3d": I3D_RELEASE}
# Files of a folder that are read: those of PyTorch and safetensors.
_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin", SUFFIX)
# The codes write the best and the latest weights, and beside them the history of the scores.
_BEST, _HISTORY = "best", "history"
_MAX_LISTED = 3


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint, to be written by `save_conversion`.

    Attributes:
        system: name in SYSTEMS.
        similar: other systems whose released tensors have the same names.
        parts: the networks, with their tensors.
        left_out: released tensors that are not converted, with reasons.
        added: tensors that no release holds, with reasons.
        changed_settings: settings that differ from the defaults of the model.
        files: name -> SHA-256 of the files.
        model: the model with its weights; None: the weights alone are written.
        weights: all tensors.
    """

    system: str
    similar: tuple[str, ...]
    parts: tuple[Part, ...]
    left_out: tuple[LeftOut, ...]
    added: tuple[LeftOut, ...]
    changed_settings: dict[str, object]
    files: dict[str, str]
    model: SeparationModel | None
    weights: Weights

    def as_json(self) -> dict[str, object]:
        """Return everything but the tensors as JSON values."""
        return {
            "system": self.system,
            "similar": list(self.similar),
            "networks": [
                {
                    "network": part.network.title,
                    "file": part.file,
                    "converted": count_released(part),
                    "left_out": len(part.translation.left_out),
                }
                for part in self.parts
            ],
            "left_out": {item.name: item.reason for item in self.left_out},
            "added": {item.name: item.reason for item in self.added},
            "settings": self.changed_settings,
        }


def count_released(part: Part) -> int:
    """Return the number of released tensors of a network that are converted."""
    return sum(map(len, part.translation.sources.values()))


def count_reasons(left_out: Sequence[LeftOut]) -> Iterator[tuple[str, int, str]]:
    """Yield each reason with the number of its tensors and one of their names."""
    counts = Counter(item.reason for item in left_out)
    for reason, number in counts.items():
        yield reason, number, next(item.name for item in left_out if item.reason == reason)


def convert(
    paths: Sequence[Path],
    system: str | None = None,
    recipe: str | None = None,
    clip: str = CLIP_WEIGHTS,
) -> Conversion:
    """Read released checkpoints and load their weights into avsep's model.

    Args:
        paths: the files of one checkpoint, or a folder of them. No code in them is run.
        system: name in SYSTEMS; None: recognised by the names of the tensors.
        recipe: recipe of `avsep train` for settings that tensors do not show: categories, windows.
        clip: CLIP for systems that read it, as in `load_clip`; no checkpoint contains it.

    Raises:
        InputError: a file that cannot be read, another or no system, tensors that are missing,
            unknown or of another shape, a recipe of another model, a CLIP that cannot be loaded, or
            a model that is converted already.
    """
    if system is not None and system not in SYSTEMS:
        raise unknown_name("system", system, SYSTEMS)
    files = [file for path in paths for file in checkpoint_files(path)]
    for file in files:
        if is_checkpoint(file):
            raise InputError(f"'{file}' is a model of avsep already: give it to --model or --init")
    # Two folders may hold files of one name, so that whole paths are the keys.
    tensors = {str(file): read_all_tensors(file) for file in files}
    name, similar = _recognise(tensors, system)
    release = SYSTEMS[name]
    assignment = assign(release, tensors)
    _check_complete(name, release, assignment)
    weights: Weights = {}
    for part in assignment.parts:
        weights |= part.translation.weights
    digests = {file.name: _digest(file) for file in files}
    parts, left_out = tuple(assignment.parts), tuple(assignment.left_out)
    if not release.model:
        published = _published(parts, tensors)
        return Conversion(name, similar, parts, left_out, (), {}, digests, None, published)
    settings = _make_settings(name, release, weights, recipe)
    # On the meta device a network has shapes and no memory, and is not initialised.
    with torch.device("meta"):
        model = MODELS[release.model](settings)
    added = _add_missing(release, model, weights, clip)
    _check_shapes(name, model, weights, assignment)
    expected = model.state_dict()
    weights = {key: value.to(expected[key].dtype) for key, value in weights.items()}
    model.load_state_dict(weights, assign=True)
    changes = _changes(MODELS[release.model].Settings(), settings)
    return Conversion(name, similar, parts, left_out, added, changes, digests, model, weights)


def save_conversion(conversion: Conversion, path: Path) -> None:
    """Write a converted checkpoint as one safetensors file, atomically.

    Raises:
        InputError: the name does not end in .safetensors, or the file cannot be written.
    """
    check_output(path)
    release = SYSTEMS[conversion.system]
    if conversion.model is None:
        weights = {name: value.contiguous() for name, value in conversion.weights.items()}
        write_atomic(path, save(weights))
        return
    metadata = {
        "converted_from": {
            "system": conversion.system,
            "repository": release.repository,
            "licence": release.licence,
            "files": conversion.files,
        }
    }
    save_checkpoint(conversion.model, path, model_name=release.model, metadata=metadata)


def check_output(path: Path) -> None:
    """Check the name of the file to write, before minutes of work.

    Raises:
        InputError: it does not end in .safetensors, or its folder is missing.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"'{path}' must end in {SUFFIX}: give -o {path.stem or 'model'}{SUFFIX}")
    if not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: make the folder '{path.parent}' first")


def checkpoint_files(path: Path) -> list[Path]:
    """Return the file itself, or the files of weights of a folder, the best ones if marked so.

    Raises:
        InputError: no such path, or a folder without such files.
    """
    if not path.is_dir():
        return [path]
    files = [
        file
        for file in sorted(path.iterdir())
        if file.suffix in _SUFFIXES and not file.name.startswith(_HISTORY)
    ]
    if not files:
        raise InputError(
            f"'{path}' holds no checkpoint ({', '.join(_SUFFIXES)}); give the files of the networks"
        )
    return [file for file in files if _BEST in file.name] or files


# Recognition


def _recognise(tensors: Mapping[str, Weights], system: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the system of tensors, and other systems with the same names."""
    complete: dict[str, int] = {}
    partial: dict[str, int] = {}
    for name, release in SYSTEMS.items():
        assignment = assign(release, dict(tensors))
        if assignment.missing(release):
            partial[name] = len(assignment.parts)
        else:
            complete[name] = len(assignment.unknown)
    fewest = min(complete.values(), default=0)
    best = [name for name, number in complete.items() if number == fewest]
    if system is None and best:
        return best[0], tuple(best[1:])
    if system in complete:
        return str(system), ()
    if system is None:
        # Some of a system's networks: its message says which files are missing.
        system = max(partial, key=lambda name: partial[name])
        if not partial[system]:
            raise InputError(
                f"{_listed(list(tensors))}: the names of the tensors are those of none of the "
                f"systems {', '.join(SYSTEMS)}; they begin with {_listed(_first_names(tensors))}"
            )
    elif best:
        raise InputError(
            f"{_listed(list(tensors))} is no checkpoint of {system}: its names are those of "
            f"{best[0]}; type --as {best[0]}"
        )
    return system, ()


def _first_names(tensors: Mapping[str, Weights]) -> list[str]:
    return [name for weights in tensors.values() for name in weights]


# Checks


def _check_complete(name: str, release: ReleasedSystem, assignment: Assignment) -> None:
    if missing := assignment.missing(release):
        marks = {network.title: network.marks[0] for network in release.networks}
        listed = ", ".join(f"{title} ('{marks[title]}')" for title in missing)
        raise InputError(
            f"the files lack these networks of {name}: {listed}; give the files of all its "
            f"networks ({', '.join(release.titles)}), or their folder"
        )
    if (repeated := assignment.repeated()) is not None:
        files = [
            part.file for part in assignment.parts if part.network.title == repeated.network.title
        ]
        raise InputError(
            f"{' and '.join(files)} both hold the {repeated.network.title} of {name}; give one"
        )
    if assignment.unknown:
        raise InputError(
            f"{len(assignment.unknown)} tensors are not {name}'s, such as "
            f"{_listed(assignment.unknown)}; give a checkpoint of {release.repository}, or name "
            f"its system: --as {'|'.join(SYSTEMS)}"
        )


def _check_shapes(name: str, model: nn.Module, weights: Weights, assignment: Assignment) -> None:
    """Check names and shapes of converted weights against the model's."""
    sources = {
        target: names
        for part in assignment.parts
        for target, names in part.translation.sources.items()
    }
    expected = model.state_dict()
    if extra := [target for target in weights if target not in expected]:
        raise InputError(
            f"{name} of this size has no place for {len(extra)} tensors, such as "
            f"{_listed(sources[extra[0]])}: the checkpoint is of another variant"
        )
    for target, value in expected.items():
        if weights[target].shape != value.shape:
            raise InputError(
                f"{_listed(sources.get(target, [target]))} becomes {_shape(weights[target])}, "
                f"needed is {_shape(value)} by the other tensors: the checkpoint is damaged, or "
                f"of another variant of {name}"
            )


def _add_missing(
    release: ReleasedSystem, model: SeparationModel, weights: Weights, clip: str
) -> tuple[LeftOut, ...]:
    """Add the tensors that no release holds, and return them with the reasons.

    Raises:
        InputError: the checkpoint lacks a tensor.
    """
    expected, added = model.state_dict(), []
    clip_prefix = f"{release.clip}."
    clip_names = [name for name in expected if release.clip and name.startswith(clip_prefix)]
    if clip_names:
        reason = f"published weights of CLIP, {clip}"
        for key, value in load_clip(clip).state_dict().items():
            weights[clip_prefix + key] = value
            added.append(LeftOut(clip_prefix + key, reason))
    missing = []
    for target, value in expected.items():
        if target in weights:
            continue
        reason = release.zero_reason(target)
        if reason is None and target.endswith("num_batches_tracked"):
            reason = "PyTorch before 0.4.1 did not count batches"
        if reason is None:
            missing.append(target)
        else:
            weights[target] = torch.zeros(value.shape, dtype=value.dtype)
            added.append(LeftOut(target, reason))
    if missing:
        raise InputError(
            f"the checkpoint lacks {len(missing)} of {len(expected)} tensors: that for "
            f"{_listed(missing)}; download it again, or give the files of all networks"
        )
    return tuple(added)


# Settings


def _make_settings(
    name: str, release: ReleasedSystem, weights: Weights, recipe: str | None
) -> ModelSettings:
    """Return the settings of the tensors' shapes and the released code, and those of a recipe."""
    try:
        values = release.settings(weights)
    except KeyError as error:
        raise InputError(
            f"the checkpoint lacks the tensor of {name} that becomes {error}; download it again"
        ) from error
    except (IndexError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"a tensor of this {name} has too few axes: the checkpoint is damaged; download it "
            "again"
        ) from error
    if recipe is not None:
        content = read_recipe(recipe)
        if content.get("model") != release.model:
            raise InputError(
                f"recipe '{recipe}' is for model '{content.get('model')}', not for "
                f"'{release.model}'; give a recipe of it"
            )
        values = merge(values, content.get("settings", {}))
    return check_settings(values, MODELS[release.model].Settings, f"the settings of this {name}")


def _changes(default: BaseModel, settings: BaseModel, prefix: str = "") -> dict[str, object]:
    """Return the settings that differ from the defaults, by their dotted names."""
    changes: dict[str, object] = {}
    for name in type(settings).model_fields:
        value, usual = getattr(settings, name), getattr(default, name)
        if isinstance(value, BaseModel) and isinstance(usual, BaseModel):
            changes |= _changes(usual, value, f"{prefix}{name}.")
        elif value != usual:
            changes[prefix + name] = list(value) if isinstance(value, tuple) else value
    return changes


# Weights that keep their names


def _published(parts: Sequence[Part], tensors: Mapping[str, Weights]) -> Weights:
    """Return the tensors under their released names, without prefixes and unused ones."""
    return {
        name: tensors[part.file][part.prefix + name]
        for part in parts
        for names in part.translation.sources.values()
        for name in names
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _MAX_LISTED
    listed = ", ".join(f"'{name}'" for name in names[:_MAX_LISTED])
    return f"{listed} and {rest} more" if rest > 0 else listed


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"
