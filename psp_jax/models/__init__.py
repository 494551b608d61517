"""Networks. Only this package imports flax."""

from typing import Any, Protocol


class Network(Protocol):
    """The network of a config. It becomes a flax module once the number of outputs is known."""

    def make(self, channels: int) -> Any:
        """Builds the flax module with `channels` outputs per pixel.

        The module's method `inputs` returns its input, `INPUT_CHANNELS` channels of a batch;
        `PARTS` lists the parts that can be trained separately.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        ...
