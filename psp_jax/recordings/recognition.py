"""The result of recognising a layout."""

import dataclasses
from collections.abc import Mapping, Sequence

from psp_jax.recordings.depth_units import Choice
from psp_jax.recordings.recording import Recording


@dataclasses.dataclass(frozen=True)
class Recognised:
    """The recordings of one folder, in a layout that recognised it.

    Attributes:
        recordings: at least one.
        choices: the units of depth that a test chose, where the layout states none.
        unpaired: numbers of colour and of depth files that belong to no file of the other kind.
        refused: by path, why a folder among several is not read.
    """

    recordings: Sequence[Recording]
    choices: Sequence[Choice] = ()
    unpaired: tuple[int, int] = (0, 0)
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
