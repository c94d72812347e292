"""Test wrong inputs in Python as users give them: without the type checks of these tests."""

import json
import subprocess
import sys

import pytest

# A program of its own: in this process every call is checked against its annotations.
PROGRAM = """
import io, json
import numpy as np
import avsep
from avsep.records import Clip

clip = Clip(np.zeros((1, 11025), np.float32), 11025, np.zeros((2, 8, 8, 3), np.uint8), [0, 0.5])
objects = [{"violin": [0.1, 0.2, 0.5, 0.9]}, bytearray(b"violin"), 3, {"violin"}, [None], [[0.1]],
           ["violin", {"label": "harp"}], (word for word in ["violin"]), [b"violin"], [], True]
videos = [None, 3, {}, ["a.mp4"], {b"a"}, np.zeros(3), bytearray(b"text"), memoryview(b"text")]
calls = [lambda value=value: avsep.separate(clip, value) for value in objects]
calls += [lambda value=value: avsep.separate(clip, "violin", text=value) for value in objects[:-2]]
calls += [lambda value=value: avsep.separate(value, "violin") for value in videos]
for call in calls:
    try:
        call()
        print(json.dumps(["nothing", ""]))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.slow
def test_wrong_types_are_one_line_with_what_to_give() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == 11 + 9 + 8
    for name, message in results:
        assert name == "InputError" and "\n" not in message and "give " in message, message
