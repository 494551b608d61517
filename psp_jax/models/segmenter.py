"""The network as a field of a config: what it is made of, before its outputs are known."""

import dataclasses

from psp_jax.models import pspnet, resnet
from psp_jax.models.architecture import SEMSEG, Architecture, Modality
from psp_jax.models.precision import Precision, Remat


@dataclasses.dataclass
class Segmenter:
    """ResNet-PSPNet.

    Attributes:
        depth: layers of the trunk: 10, 18, 34, 50, 101 or 152.
        width: channels of the first stage; 64 as published. Everything scales with it.
        dropout: rate of channels dropped before the classifier.
        architecture: the choices that weights do not show; of hszhao/semseg unless said otherwise.
        auxiliary: whether there is an auxiliary head on stage 3; phases that train the part
            `auxiliary` add 0.4 times its loss, elsewhere it costs nothing.
        modality: what the network sees: colour, filled depth, or both. Weights for colour are adapted
            to the others when a run starts from them.
        softmax: whether a dense layer, the thesis's softmax classifier, follows the classifier.
        precision: in what trunk, pyramid and head compute, `float32` or `bfloat16`; parameters,
            statistics, outputs and losses are float32 whatever it is.
        remat: what is kept from the forward pass for the gradient: everything (`none`), the outputs
            of `convolutions` and the inputs of blocks, or the inputs of `blocks` alone.
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
        """Builds the module for `channels` outputs per pixel.

        Raises:
            ValueError: if a field has a value that no network can be built with.
        """
        if self.depth not in resnet.DEPTHS:
            known = ", ".join(map(str, resnet.DEPTHS))
            raise ValueError(f"model.depth={self.depth}: one of {known} was expected")
        if self.width < 1:
            raise ValueError(f"model.width={self.width}: a positive number was expected")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout={self.dropout}: a rate in [0, 1) was expected")
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
