"""Write the page of a listening test: one trial at a time, votes stored in the browser."""

import html
from pathlib import Path

import numpy as np
from jaxtyping import Float32

import avsep
from avsep.errors import InputError
from avsep.evaluation.listening.design import LOUDNESS_DB, QUESTION, ListeningTest, Trial
from avsep.media.atomic import make_folder, write_atomic
from avsep.pages import html_page

_BESIDE = Path(html_page.__file__)
STYLE = _BESIDE.with_name("listening_test.css").read_text(encoding="utf-8")
SCRIPT = _BESIDE.with_name("listening_test.js").read_text(encoding="utf-8")
INTRODUCTION = (
    "Each trial has the true sound of one object, which the frame shows in a box, and two results "
    "of separating it from a mixture. Use headphones. Play all three as often as you like, then "
    "choose; if you cannot decide, guess. There is no right answer."
)
KEYS = (
    ("0", "play the truth"), ("1", "play A"), ("2", "play B"), ("A", "choose A"),
    ("B", "choose B"), ("←", "back"), ("→", "next"),
)  # fmt: skip


def write_listening_test(test: ListeningTest, page: Path) -> Path:
    """Write the page and, beside it, the key that names the methods; return the key's path.

    The key of listen.html is listen-key.json. A missing folder is created.

    Raises:
        InputError: the page is a folder, or the key of another test would be overwritten, without
            which its votes cannot be counted.
    """
    if page.is_dir():
        raise InputError(f"'{page}' is a folder; give the name of the page to -o, FILE.html")
    make_folder(page.parent)
    key = page.with_name(f"{page.stem}-key.json")
    content = test.key.model_dump_json(indent=1) + "\n"
    # Writing the same key again is harmless: a repeated command with the same seed may do so.
    if key.is_file() and key.read_bytes() != content.encode():
        raise InputError(
            f"'{key}' is of another test, whose votes cannot be counted without it: give the page "
            "another name with -o, or remove the key"
        )
    # The key first: a page without its key could collect votes that nothing can count.
    write_atomic(key, content)
    write_atomic(page, listening_html(test))
    return key


def listening_html(test: ListeningTest) -> str:
    """Return the page as HTML, with random ids of trials and without names of methods.

    Without JavaScript all sounds can be played, but votes need it.
    """
    num_trials = len(test.trials)
    keys = " ".join(f"<kbd>{key}</kbd> {words}" for key, words in KEYS)
    body = [
        f"<p>{html.escape(INTRODUCTION)}</p>",
        "<noscript><p><b>To vote, allow this page to run JavaScript; it sends nothing "
        "anywhere.</b></p></noscript>",
        '<div id="controls" hidden>',
        '<p><label>Your name or number <input id="name" maxlength="100" autocomplete="off">'
        "</label></p>",
        f'<div class="bar"><progress max="{num_trials}" value="0" aria-label="answered"></progress>'
        '<span id="state" role="status"></span></div>',
        f"<p><small>{keys}</small></p></div>",
        *(_trial_html(number, trial) for number, trial in enumerate(test.trials, 1)),
        '<div class="bar"><button id="back">Back</button><button id="next">Next</button>'
        '<button id="save">Save votes as a file</button>'
        '<button id="anew">Another listener</button></div>',
        '<p id="done" hidden><b>All trials answered, thank you.</b> Save the votes as a file and '
        "send it to the organiser. Until then every answer can be changed.</p>",
        "<p><small>Votes are stored in this browser with every answer, so that a closed page loses "
        f"none. All sounds of a trial have the same root mean square ({LOUDNESS_DB:.0f} dB or "
        "less), so that none is preferred for being louder.</small></p>",
    ]
    page = html_page.page(
        "Listening test", body, STYLE, f"avsep {avsep.__version__}; test {test.key.test}",
        script=SCRIPT,
    )  # fmt: skip
    # The script reads the test's id from here to find the votes stored in the browser.
    return page.replace("<body>", f'<body data-test="{test.key.test}">', 1)


def _trial_html(number: int, trial: Trial) -> str:
    frame = "<p>No frame can be shown.</p>"
    if trial.picture is not None:
        frame = html_page.picture("jpeg", trial.picture, "frame with the object in a box")
    choices = "".join(
        f'<div class="sound" data-choice="{place}"><b>{letter}</b>'
        f"{_player_html(place, f'result {letter}', sound, trial.sample_rate_hz)}"
        f'<button type="button" aria-pressed="false">{letter} is closer</button></div>'
        for place, letter, sound in (("first", "A", trial.first), ("second", "B", trial.second))
    )
    truth = _player_html("truth", "ground truth", trial.truth, trial.sample_rate_hz)
    return (
        f'<section class="trial" data-trial="{trial.identifier}"><h2>Trial {number}</h2>'
        f'<div class="seen">{frame}<div class="sound"><b>Ground truth</b>{truth}</div></div>'
        f'<p class="question">{html.escape(QUESTION)}</p><div class="sounds">{choices}</div>'
        "</section>"
    )


def _player_html(
    place: str, name: str, sound: Float32[np.ndarray, "C N"], sample_rate_hz: int
) -> str:
    address = html_page.sound_uri(sound, sample_rate_hz)
    return f'<audio controls data-sound="{place}" aria-label="{name}" src="{address}"></audio>'
