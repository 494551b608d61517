"""PSPNet as a field of a config."""

import dataclasses

from psp_jax.io import ranges
from psp_jax.models import pspnet
from psp_jax.models.architecture import SEMSEG, Architecture, Modality
from psp_jax.models.precision import Precision, Remat
from psp_jax.models.resnet import ResNet
from psp_jax.models.trunk import Trunk


@dataclasses.dataclass
class Segmenter:
    """PSPNet, before the number of its outputs is known.

    Attributes:
        trunk: network that computes the feature maps, `resnet.ResNet` or
            `efficientnet_lite.EfficientNetLite`.
        dropout: rate of channels dropped before the classifier.
        architecture: the architecture variant of pyramid, heads and ResNet, by default that of
            hszhao/semseg.
        auxiliary: whether there is an auxiliary head on the last stage but one; phases that train
            the part `auxiliary` add 0.4 times its loss; in others it is not computed.
        modality: input of the network: colour, filled depth, or both. A run that starts from
            weights for colour adapts their first convolution.
        softmax: whether a dense layer, the thesis's softmax classifier, follows the classifier.
        precision: type that trunk, pyramid and head compute in, `float32` or `bfloat16`;
            parameters, statistics, outputs and losses are always float32.
        remat: what the forward pass keeps for the gradient: everything (`none`), the outputs of
            `convolutions` and the inputs of blocks, or only the inputs of `blocks`.
    """

    trunk: Trunk = dataclasses.field(default_factory=ResNet)
    dropout: float = ranges.number(0.1, least=0, below=1)
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
        ranges.check(self, "model")
        remat = Remat(self.remat)
        return pspnet.PSPNet(
            channels=channels,
            trunk=self.trunk.make(self.architecture, remat),
            dropout=self.dropout,
            architecture=self.architecture,
            auxiliary=self.auxiliary,
            softmax=self.softmax,
            modality=Modality(self.modality),
            precision=Precision(self.precision),
            remat=remat,
        )
