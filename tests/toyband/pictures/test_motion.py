"""Test motion: strokes, strikes at the onset, shared pitch range, stillness during rests."""

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.toyband.pictures.instruments.motion import Motion


class PlainNote(NamedTuple):
    onset_seconds: float
    duration_seconds: float
    midi: int | None
    dynamic: float


# Durations reach below the length of a frame, and onsets may coincide.
notes = st.lists(
    st.builds(
        PlainNote,
        st.floats(0, 9),
        st.floats(0.02, 2),
        st.one_of(st.none(), st.integers(20, 110)),
        st.floats(0, 1),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(notes, st.floats(0, 12))
def test_a_pose_stays_within_its_limits(some_notes, time_seconds):
    pose = Motion(some_notes).pose(time_seconds)
    assert -1 <= pose.stroke <= 1
    assert 0 <= pose.pitch <= 1
    assert 0 <= pose.lean <= 1
    assert 0 <= pose.strum <= 1
    assert all(0 <= hand.height <= 1 and 0 <= hand.progress <= 1 for hand in pose.hands)
    assert set(pose.sounding) | set(pose.struck) <= {note.midi or 60 for note in some_notes}


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(notes)
def test_nothing_moves_after_the_last_note(some_notes):
    # The last note ends at 11 s at the latest; hands are at rest 0.22 s later.
    motion = Motion(some_notes)
    assert motion.pose(12.0) == motion.pose(15.0)


def test_a_bow_goes_one_way_a_note_and_back_with_the_next():
    motion = Motion([PlainNote(0.5 * i, 0.5, 60, 0.7) for i in range(6)])
    # Just after each onset and shortly before the next: no quantised position is ambiguous.
    turns = [motion.pose(0.5 * i + 0.01).stroke for i in range(6)]
    directions = [motion.pose(0.5 * i + 0.45).stroke - turns[i] for i in range(6)]
    assert all(a * b < 0 for a, b in pairwise(directions))


def test_a_louder_note_gets_more_bow():
    soft, loud = (Motion([PlainNote(0, 1, 60, dynamic)]) for dynamic in (0.1, 0.9))
    assert loud.pose(0.9).stroke > soft.pose(0.9).stroke


def test_a_stick_is_up_before_the_onset_and_down_at_it():
    motion = Motion([PlainNote(1.0, 0.2, 60, 0.8)])
    # Half of RAISE_SECONDS before the onset, at the contact, and after the recovery.
    up, down, back = (motion.pose(t).hands[1] for t in (0.92, 1.02, 1.4))
    assert up.height > 0.6
    assert down.height == 0
    assert 0 < back.height < up.height
    assert down.to_midi == 60


def test_a_pitch_without_strike_position_moves_no_hand():
    kick = [PlainNote(1.0, 0.2, 36, 0.8)]
    motion = Motion(kick, strike_position=lambda midi: None)
    assert {motion.pose(t).hands for t in (0.0, 0.95, 1.02, 1.2)} == {motion.pose(0.0).hands}
    assert motion.pose(1.05).struck == (36,)


def test_a_chord_is_one_movement_and_all_its_keys_sound():
    chord = [PlainNote(1.0, 0.5, midi, 0.6) for midi in (48, 64, 67)]
    motion = Motion(chord)
    assert motion.pose(1.2).sounding == (48, 64, 67)
    assert len(motion.gestures) == 1


def test_a_held_bass_sounds_on_below_the_melody():
    bass = PlainNote(0.0, 2.0, 40, 0.6)
    motion = Motion([bass, *(PlainNote(0.5 * i, 0.4, 70 + i, 0.6) for i in range(1, 4))])
    assert motion.pose(1.2).sounding == (40, 72)


def test_higher_notes_lie_farther_up():
    motion = Motion([PlainNote(i, 0.9, 50 + 8 * i, 0.5) for i in range(3)])
    places = [motion.pose(i + 0.5).pitch for i in range(3)]
    assert places == sorted(places)
    assert places[0] < places[2]
