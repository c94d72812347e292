"""Test registers: one per category, narrowed to the notes, and one piece of the kit per key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.toyband.categories import CATEGORIES
from avsep.toyband.music.registers import (
    DRUM_KINDS,
    REACH_SEMITONES,
    REGISTERS,
    drum_kind,
    narrow_register,
)

pitched = st.sampled_from([name for name, register in REGISTERS.items() if register.pitched])


def test_every_category_has_a_register_that_takes_a_melody() -> None:
    assert tuple(REGISTERS) == CATEGORIES
    for register in REGISTERS.values():
        assert register.highest - register.lowest >= 20  # more than COMPASS_SEMITONES
        assert register.lowest < register.centre < register.highest


@given(category=pitched, midis=st.lists(st.integers(0, 127), min_size=1, max_size=20))
def test_the_narrowed_register_is_within_reach_of_the_notes(
    category: str, midis: list[int]
) -> None:
    register = narrow_register(category, midis)
    assert min(midis) - REACH_SEMITONES <= register.lowest <= register.highest
    assert register.highest <= max(midis) + REACH_SEMITONES
    # With notes everywhere, the usual range remains.
    assert narrow_register(category, [*midis, *range(128)]) == REGISTERS[category]


def test_no_drum_belongs_to_two_pieces_and_the_register_covers_the_kit() -> None:
    keys = [key for kind in DRUM_KINDS.values() for key in kind]
    assert len(keys) == len(set(keys))
    assert min(keys) == REGISTERS["drums"].lowest and max(keys) == REGISTERS["drums"].highest


@pytest.mark.parametrize(
    ("key", "kind"), [(36, "kick"), (46, "open hat"), (59, "ride"), (81, "snare")]
)
def test_keys_have_pieces_and_unknown_keys_are_the_snare(key: int, kind: str) -> None:
    assert drum_kind(key) == kind
