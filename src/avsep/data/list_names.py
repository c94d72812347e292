"""What the name of a list says: the role it has, and whose it is.

The role of a list is the first word of its file's name that begins with train, val or test
(`davis_train`, `iquery_testmusic`, `val_order`), else that of the nearest folder so named
(`train/list.txt`); a name that says none gives a list without a role. What stands before that word
says whose list it is: `davis_train` and `davis_val` of one folder are one set, `iquery_trainmusic`
is of another, `train.txt` and `val.txt` are the set of their folder.
"""

import re
from pathlib import PurePosixPath

from avsep.data.clips import TEST, TRAINING, VALIDATION

ROLES = (TRAINING, VALIDATION, TEST)
LIST_ENDINGS = (".csv", ".txt", ".json", ".h5", ".hdf5")


def role_and_owner(place: PurePosixPath) -> tuple[str | None, str]:
    """What a list is for, and the set it is of: "" where only the outermost folder would say.

    >>> role_and_owner(PurePosixPath("music/davis_testsepmusic.csv"))
    ('test', 'music/davis')
    >>> role_and_owner(PurePosixPath("split1/train.txt")), role_and_owner(PurePosixPath("val.txt"))
    (('train', 'split1'), ('val', ''))
    >>> role_and_owner(PurePosixPath("ave/test/sounds.csv"))
    ('test', 'ave')
    """
    folders = list(place.parent.parts)
    role, before = role_in(place.stem)
    if role:
        return role, "/".join([*folders, before] if before else folders)
    while folders:
        role, before = role_in(folders.pop())
        if role:
            return role, "/".join([*folders, before] if before else folders)
    return None, str(place.with_suffix(""))


def role_in(name: str) -> tuple[str | None, str]:
    """The role that a name says, and the words before it."""
    words = [word for word in re.split(r"[^0-9a-z]+", name.lower()) if word]
    for index, word in enumerate(words):
        role = next((role for role in ROLES if word.startswith(role)), None)
        if role:
            return role, "_".join(words[:index])
    return None, ""
