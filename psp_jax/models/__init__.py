"""Networks; the only package that imports flax."""

from typing import Any, Protocol


class Network(Protocol):
    """A network as a field of a config, before the number of its outputs is known."""

    def make(self, channels: int) -> Any:
        """Builds the flax module for `channels` outputs per pixel.

        It maps what its method `inputs` takes of a batch, with `INPUT_CHANNELS` channels, to
        outputs; `PARTS` names what of it can be trained by itself.

        Raises:
            ValueError: if a field has a value that no network can be built with.
        """
        ...
