"""ResNet-PSPNet as a field of a config."""

import dataclasses

from psp_jax.models import pspnet, resnet
from psp_jax.models.architecture import SEMSEG, Architecture, Modality
from psp_jax.models.precision import Precision, Remat


@dataclasses.dataclass
class Segmenter:
    """ResNet-PSPNet, before the number of its outputs is known.

    Attributes:
        depth: layers of the trunk: 10, 18, 34, 50, 101 or 152.
        width: channels of the first stage, 64 as published; all others scale with it.
        dropout: rate of channels dropped before the classifier.
        architecture: the architecture variant, by default that of hszhao/semseg.
        auxiliary: whether there is an auxiliary head on stage 3; phases that train the part
            `auxiliary` add 0.4 times its loss; in others it is not computed.
        modality: input of the network: colour, filled depth, or both. A run that starts from
            weights for colour adapts their first convolution.
        softmax: whether a dense layer, the thesis's softmax classifier, follows the classifier.
        precision: type that trunk, pyramid and head compute in, `float32` or `bfloat16`;
            parameters, statistics, outputs and losses are always float32.
        remat: what the forward pass keeps for the gradient: everything (`none`), the outputs of
            `convolutions` and the inputs of blocks, or only the inputs of `blocks`.
    """

    depth: int = 50
    width: int = 64
    dropout: float = 0.1
    architecture: Architecture = SEMSEG
    auxiliary: bool = False
    softmax: bool = False
    modality: Modality = Modality.RGB
    precision: Precision = Precision.FLOAT32
    remat: Remat = Remat.NONE

    def make(self, channels: int) -> pspnet.PSPNet:
        """Builds the module with `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can have.
        """
        if self.depth not in resnet.DEPTHS:
            known = ", ".join(map(str, resnet.DEPTHS))
            raise ValueError(f"model.depth={self.depth}: expected one of {known}")
        if self.width < 1:
            raise ValueError(f"model.width={self.width}: expected at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout={self.dropout}: expected a rate from 0 to below 1")
        return pspnet.PSPNet(
            channels=channels,
            depth=self.depth,
            width=self.width,
            dropout=self.dropout,
            architecture=self.architecture,
            auxiliary=self.auxiliary,
            softmax=self.softmax,
            modality=Modality(self.modality),
            precision=Precision(self.precision),
            remat=Remat(self.remat),
        )
