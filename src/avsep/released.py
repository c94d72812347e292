"""Tables of the tensor names of released checkpoints, and their translation to avsep's names.

A system's table stands beside its model. It says by which tensors each released network is
recognised, what its tensors are called here, and which of them are not used, with the reason.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jaxtyping import Shaped
from torch import Tensor

from avsep.errors import InputError

Weights = dict[str, Shaped[Tensor, "..."]]
# Computes a tensor of avsep from those that are renamed to it, in the order of the checkpoint.
Change = Callable[[Sequence[Tensor]], Tensor]

# Tensors that training programs store beside a network, whatever the system.
_BESIDE = (
    (r"(.*\.)?optimi[sz]ers?(\..*)?", "state of the optimizer"),
    (r"(.*\.)?(step|initted|queue|queue_ptr)", "counter or queue of the training"),
)
# Of several copies of a network the first of these is converted: the moving average of its weights,
# the encoder that was trained beside a momentum encoder.
_PREFERRED = ("ema_model.", "ema.", "encoder_q.")


def only(tensors: Sequence[Tensor]) -> Tensor:
    """Return the only tensor."""
    assert len(tensors) == 1, f"{len(tensors)} tensors have one name: the table needs a change"
    return tensors[0]


def flattened(tensors: Sequence[Tensor]) -> Tensor:
    """Remove the last two axes of a 1 x 1 convolution, or all axes of size one of a vector."""
    tensor = only(tensors)
    return tensor.flatten() if tensor.numel() == max(tensor.shape) else tensor.flatten(2).squeeze(2)


@dataclass(frozen=True)
class Rename:
    r"""One row of a table.

    Attributes:
        pattern: regular expression of the whole released name, without the network's prefix.
        name: name in avsep's model; \1 is the first group of the pattern.
        change: how its value is computed, where it is not the released tensor as it is.
    """

    pattern: str
    name: str
    change: Change = only


@dataclass(frozen=True)
class Unused:
    """Released tensors that are not converted.

    Attributes:
        pattern: regular expression of the whole name.
        reason: why, as the command prints it.
    """

    pattern: str
    reason: str


@dataclass(frozen=True)
class LeftOut:
    """A released tensor that is not converted, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Translation:
    """The tensors of a released network under avsep's names.

    Attributes:
        weights: avsep's name -> tensor.
        sources: avsep's name -> released names.
        left_out: tensors that are not used.
        unknown: released names that the table does not have.
    """

    weights: Weights
    sources: dict[str, list[str]]
    left_out: list[LeftOut]
    unknown: list[str]


@dataclass(frozen=True)
class ReleasedNetwork:
    """The table of one released network; a checkpoint may have any prefix before its names.

    Attributes:
        title: the network in words.
        marks: names that together tell it from all other networks.
        absent: names that it does not have, where another network has all its marks.
        renames: the rows of the table; the first that fits a name decides.
        unused: tensors that are not used.
    """

    title: str
    marks: tuple[str, ...]
    renames: tuple[Rename, ...]
    absent: tuple[str, ...] = ()
    unused: tuple[Unused, ...] = ()

    def prefixes(self, names: Iterable[str]) -> list[str]:
        """Return the prefixes under which the network is among names, the preferred one first.

        >>> ReleasedNetwork("tiny", ("scale",), ()).prefixes(["module.scale", "module.rescale"])
        ['module.']
        """
        present = set(names)
        first = self.marks[0]
        candidates = [name.removesuffix(first) for name in present if name.endswith(first)]
        complete = [
            prefix
            for prefix in candidates
            if (not prefix or prefix.endswith("."))
            and all(prefix + mark in present for mark in self.marks)
            and not any(prefix + name in present for name in self.absent)
        ]
        return sorted(complete, key=lambda prefix: (_preference(prefix), len(prefix), prefix))

    def translate(self, tensors: Weights) -> Translation:
        """Rename the tensors of the network, given without its prefix.

        Raises:
            InputError: a tensor has another number of axes than the table expects.
        """
        sources: dict[str, list[str]] = {}
        changes: dict[str, Change] = {}
        left_out, unknown = [], []
        for name in tensors:
            unused = next((u for u in self.unused if re.fullmatch(u.pattern, name)), None)
            if unused is not None:
                left_out.append(LeftOut(name, unused.reason))
                continue
            for row in self.renames:
                if match := re.fullmatch(row.pattern, name):
                    target = match.expand(row.name)
                    sources.setdefault(target, []).append(name)
                    changes[target] = row.change
                    break
            else:
                unknown.append(name)
        weights: Weights = {}
        for target, names in sources.items():
            released = [tensors[name] for name in names]
            try:
                weights[target] = changes[target](released)
            except (IndexError, RuntimeError) as error:
                shapes = " and ".join(str(tuple(tensor.shape)) for tensor in released)
                raise InputError(
                    f"'{names[0]}' of the {self.title} has the shape {shapes}, which does not fit: "
                    "the checkpoint is damaged, or of another variant"
                ) from error
        return Translation(weights, sources, left_out, unknown)


@dataclass(frozen=True)
class ReleasedSystem:
    """A system whose authors released checkpoints: its networks and the settings of its code.

    Attributes:
        model: name in MODELS; empty: a network that is no separator and keeps its names.
        repository: where the code is, whose licence and download its authors state.
        licence: of the repository; the weights' is a matter of their user.
        networks: networks that a model needs, all of them; of those with one title, one.
        settings: settings of the model by the tensors, under avsep's names, and by the code.
        optional: networks that a checkpoint may hold beside them, whose tensors are not used.
        unused: tensors outside of all networks.
        zeros: pattern of tensors that no release holds and that are set to zero, and the reason.
        clip: part of the model that holds CLIP, whose published weights no checkpoint contains.
    """

    model: str
    repository: str
    licence: str
    networks: tuple[ReleasedNetwork, ...]
    settings: Callable[[Weights], dict[str, object]]
    optional: tuple[ReleasedNetwork, ...] = ()
    unused: tuple[Unused, ...] = ()
    zeros: tuple[Unused, ...] = ()
    clip: str = ""

    @property
    def titles(self) -> list[str]:
        """Titles of the networks, each once."""
        return list(dict.fromkeys(network.title for network in self.networks))

    def unused_reason(self, name: str) -> str | None:
        """Return the reason for which a tensor outside of all networks is not used, if any."""
        rows = (*self.unused, *(Unused(*row) for row in _BESIDE))
        return next((row.reason for row in rows if re.fullmatch(row.pattern, name)), None)

    def zero_reason(self, name: str) -> str | None:
        """Return the reason for which a tensor of the model is set to zero, if any."""
        return next((r.reason for r in self.zeros if re.fullmatch(r.pattern, name)), None)


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint.

    Attributes:
        network: its table.
        file: the file that holds it.
        prefix: before its names in the file.
        translation: its tensors under avsep's names.
    """

    network: ReleasedNetwork
    file: str
    prefix: str
    translation: Translation


@dataclass
class Assignment:
    """The tensors of several files, divided among the networks of a system.

    Attributes:
        parts: the networks.
        left_out: tensors that are not used.
        unknown: names that no table has.
    """

    parts: list[Part] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def missing(self, system: ReleasedSystem) -> list[str]:
        """Return the titles of the system's networks that no file holds."""
        present = {part.network.title for part in self.parts}
        return [title for title in system.titles if title not in present]

    def repeated(self) -> Part | None:
        """Return a network that is there for the second time; None if there is none."""
        present = set()
        for part in self.parts:
            if part.network.title in present:
                return part
            present.add(part.network.title)
        return None


def assign(system: ReleasedSystem, files: dict[str, Weights]) -> Assignment:
    """Divide the tensors of files among the networks of a system and rename them."""
    result = Assignment()
    for file, tensors in files.items():
        _assign_file(system, file, tensors, result)
    return result


def _assign_file(system: ReleasedSystem, file: str, tensors: Weights, result: Assignment) -> None:
    owners: dict[str, ReleasedNetwork] = {}
    copies: dict[str, str] = {}  # prefix of a copy -> that of the copy which is converted
    for network in (*system.networks, *system.optional):
        prefixes = network.prefixes(tensors)
        if prefixes:
            owners[prefixes[0]] = network
            copies |= dict.fromkeys(prefixes[1:], prefixes[0])
    parts: dict[str, Weights] = {prefix: {} for prefix in owners}
    # A longer prefix decides: "net_unet." before the empty one of a wrapper.
    longest_first = sorted([*owners, *copies], key=len, reverse=True)
    unowned = []
    for name, tensor in tensors.items():
        prefix = next((p for p in longest_first if name.startswith(p)), None)
        if prefix is None:
            unowned.append(name)
        elif prefix in copies:
            reason = f"a copy of the network; '{copies[prefix]}...' is converted"
            result.left_out.append(LeftOut(name, reason))
        else:
            parts[prefix][name.removeprefix(prefix)] = tensor
    for prefix, network in owners.items():
        if network in system.optional:
            reason = f"{network.title}, which is not used to separate"
            result.left_out += [LeftOut(prefix + name, reason) for name in parts[prefix]]
            continue
        translation = network.translate(parts[prefix])
        result.parts.append(Part(network, file, prefix, translation))
        result.left_out += translation.left_out
        unowned += [prefix + name for name in translation.unknown]
    for name in unowned:
        reason = system.unused_reason(name)
        if reason is None:
            result.unknown.append(name)
        else:
            result.left_out.append(LeftOut(name, reason))


def _preference(prefix: str) -> int:
    return next((place for place, part in enumerate(_PREFERRED) if part in prefix), len(_PREFERRED))
