"""Duplicates among boxes: the surest of one thing stays, different things beside each other too."""

import numpy as np
import pytest

from avsep.vision.detectors.base import Detections
from avsep.vision.detectors.duplicates import clean, clip, overlaps


def detections(*rows: tuple[str, float, list[float]]) -> Detections:
    boxes = np.array([box for *_, box in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Detections(boxes, tuple(word for word, *_ in rows), scores)


def test_overlaps_are_intersection_over_union() -> None:
    boxes = np.array([[0, 0, 0.5, 1], [0.25, 0, 0.75, 1], [0.6, 0, 1, 1]], np.float32)
    expected = [[1, 1 / 3, 0], [1 / 3, 1, 0.15 / 0.75], [0, 0.15 / 0.75, 1]]
    np.testing.assert_allclose(overlaps(boxes), expected, atol=1e-6)


def test_of_one_word_the_surest_stays() -> None:
    result = clean(
        detections(
            ("violin", 0.5, [0.1, 0.1, 0.5, 0.5]),
            ("violin", 0.9, [0.12, 0.1, 0.52, 0.5]),
            ("violin", 0.4, [0.6, 0.1, 0.9, 0.5]),
        )
    )
    assert result.labels == ("violin", "violin")
    assert result.scores.tolist() == pytest.approx([0.9, 0.4])
    np.testing.assert_allclose(result.boxes[0], [0.12, 0.1, 0.52, 0.5])


def test_one_thing_with_two_words_has_the_surer() -> None:
    same = [0.1, 0.1, 0.5, 0.5]
    result = clean(detections(("cello", 0.6, same), ("violin", 0.7, same)))
    assert result.labels == ("violin",)


def test_a_player_and_the_instrument_before_him_both_stay() -> None:
    """They overlap by 0.6: too much for two of one word, not for two words."""
    player, guitar = [0.0, 0.0, 1.0, 1.0], [0.0, 0.4, 1.0, 1.0]
    assert len(clean(detections(("player", 0.9, player), ("guitar", 0.8, guitar))).labels) == 2
    assert len(clean(detections(("guitar", 0.9, player), ("guitar", 0.8, guitar))).labels) == 1


def test_what_is_a_duplicate_of_a_duplicate_may_stay() -> None:
    boxes = ([0.0, 0, 0.4, 1], [0.1, 0, 0.5, 1], [0.22, 0, 0.62, 1])
    chain = detections(*(("drum", 0.9 - 0.1 * i, list(box)) for i, box in enumerate(boxes)))
    np.testing.assert_allclose(clean(chain).boxes, np.array([boxes[0], boxes[2]], np.float32))


def test_boxes_are_clipped_and_empty_ones_left_out() -> None:
    result = clean(
        detections(
            ("a", 0.9, [-0.5, 0.2, 0.5, 1.5]),
            ("b", 0.8, [1.1, 0.2, 1.4, 0.5]),
            ("c", 0.7, [0.5, 0.6, 0.4, 0.9]),
            ("d", 0.6, [0.3, 0.3, 0.3, 0.9]),
            ("e", 0.5, [np.nan, 0.3, 0.4, 0.9]),
            ("f", float("nan"), [0.6, 0.0, 0.9, 0.1]),
            ("g", 0.1, [0.6, 0.0, 0.9, 0.1]),
        ),
        least_score=0.2,
    )
    assert result.labels == ("a",)
    np.testing.assert_allclose(result.boxes, np.array([[0, 0.2, 0.5, 1]], np.float32))


def test_masks_follow_their_boxes() -> None:
    masks = np.zeros((2, 2, 2), bool)
    masks[1] = True
    raw = detections(("a", 0.2, [0, 0, 0.2, 0.2]), ("b", 0.6, [0.5, 0.5, 1, 1]))
    result = clean(Detections(raw.boxes, raw.labels, raw.scores, masks))
    assert result.labels == ("b", "a") and result.masks is not None
    assert result.masks[0].all() and not result.masks[1].any()


def test_nothing_stays_nothing_and_equal_ones_keep_their_order() -> None:
    assert clean(Detections.none()).labels == ()
    equal = detections(("a", 0.5, [0, 0, 0.2, 0.2]), ("b", 0.5, [0.5, 0.5, 1, 1]))
    assert clip(equal).labels == ("a", "b")
