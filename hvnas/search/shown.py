"""Which networks of a front are shown, which is the best of them, and what is said of how many there are.

A front reaches down to networks so unlike all published ones that an estimator can only guess their accuracy:
4.4 points, give or take 83.6, is no offer. Such a network stays on the front and in its files, but it is left
out of the tables, and it is the best only where there is no other.
"""

from __future__ import annotations

import numpy as np

from hvnas.search.seams import Bools, Floats

# Standard deviation of top-1, in points, above which an accuracy is a guess. Among random members of
# hybrid-mobile that the surrogate's guard takes for known, 99 % have at most 6.5 and hardly one has more.
GUESS_SD = 7.0
# Rows of a table of a front.
ROWS = 12
# How far apart the networks of a front are that are written as files, of the front's extent.
STEP = 0.01
# Of standard deviations in files: a front that is read back has the same guesses.
_DECIMALS = 3


def guesses(sd: Floats) -> Bools:
    """Where the standard deviation of an accuracy is too large to say anything. Shape [n]."""
    return np.asarray(np.round(sd, _DECIMALS) > GUESS_SD)


def best_place(sd: Floats) -> int:
    """The place of the best network of a front, the first objective improving along it; `sd` [n], n > 0."""
    known = np.flatnonzero(~guesses(sd))
    return int(known[-1]) if len(known) else len(sd) - 1


def shown_places(sd: Floats, written: Bools) -> list[int]:
    """The places of at most 12 networks of a front that a table shows.

    Evenly spaced over those that are `written` as files and whose accuracy is no guess, the first and the
    last among them; over all that are written where all are guesses. Shape [n] each.
    """
    known = written & ~guesses(sd)
    places = np.flatnonzero(known if known.any() else written)
    chosen = np.linspace(0, len(places) - 1, min(ROWS, len(places))).round().astype(int)
    return [int(place) for place in places[chosen]]


def front_words(members: int, rows: int) -> str:
    """``193 networks, 12 of them shown``."""
    if rows == members:
        return f"{networks(members)}, all shown"
    return f"{networks(members)}, {rows} of them shown"


def files_words(files: int, members: int) -> str:
    """A line on how many networks of a front are written as files, and which."""
    if files == members:
        return "written as files: all of them"
    return f"written as files: {files}, one for each step of {100 * STEP:g} % along the front"


def left_out_words(sd: Floats) -> list[str]:
    """A line on the networks of a front that no table shows, if there are any. Shape [n]."""
    guessed = int(guesses(sd).sum())
    if not guessed:
        return []
    why = f"a guess (± more than {GUESS_SD:g} points)"
    if guessed == len(sd):
        return [f"shown although the accuracy of every network, the best one's too, is {why}"]
    return [f"left out: {networks(guessed)} whose accuracy is {why}"]


def networks(count: int) -> str:
    """``1 network``, ``12 networks``."""
    return f"{count:,} network" + ("" if count == 1 else "s")
