"""PSPNet in PyTorch, written from the published facts and independently of psp_jax.

Used by benchmarks/pspnet.py and tests/parity.
"""

import time

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from torch.nn import functional  # pyright: ignore[reportMissingImports]

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
SEMSEG_STEM = ((1.0, 3, 2), (1.0, 3, 1), (2.0, 3, 1))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, inputs, inner, stride, dilation, stride_on_reduce):
        """Creates the block; `inner` is the width of the 3x3 convolution."""
        super().__init__()
        first, second = (stride, 1) if stride_on_reduce else (1, stride)
        self.conv1 = nn.Conv2d(inputs, inner, 1, first, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, second, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, 4 * inner, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * inner)
        self.downsample = None
        if stride != 1 or inputs != 4 * inner:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * inner, 1, stride, bias=False), nn.BatchNorm2d(4 * inner)
            )

    def forward(self, x):
        """Maps `[B, inputs, H, W]` to `[B, 4 * inner, H/stride, W/stride]`."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class PSPNet(nn.Module):
    """ResNet-50 or 101 with output stride 8, pyramid, head and classifier; no final resize."""

    def __init__(
        self,
        depth,
        classes,
        *,
        width=64,
        stem=SEMSEG_STEM,
        stride_on_reduce=False,
        contracted=False,
        ceil_pool=False,
        align_corners=True,
        bins=(1, 2, 3, 6),
        momentum=0.1,
    ):
        """Creates the network; the options are those of `psp_jax.models.architecture`."""
        super().__init__()
        layers, inputs = [], 3
        for multiple, size, stride in stem:
            outputs = round(multiple * width)
            convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.stem = nn.Sequential(*layers)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil_pool)
        self.stages = nn.ModuleList()
        for stage, (count, stride, dilation) in enumerate(
            zip(BLOCKS[depth], (1, 2, 1, 1), (1, 1, 2, 4), strict=True)
        ):
            blocks = []
            for index in range(count):
                rate = dilation // 2 if contracted and index == 0 and dilation > 1 else dilation
                blocks.append(
                    Bottleneck(
                        inputs,
                        width * 2**stage,
                        stride if index == 0 else 1,
                        rate,
                        stride_on_reduce,
                    )
                )
                inputs = 4 * width * 2**stage
            self.stages.append(nn.Sequential(*blocks))
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(count),
                nn.Conv2d(inputs, inputs // 4, 1, bias=False),
                nn.BatchNorm2d(inputs // 4),
                nn.ReLU(),
            )
            for count in bins
        )
        self.bins, self.align_corners = bins, align_corners
        self.head = nn.Sequential(
            nn.Conv2d(2 * inputs, 8 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(8 * width),
            nn.ReLU(),
        )
        self.classifier = nn.Conv2d(8 * width, classes, 1)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum

    def forward(self, x):
        """Maps `[B, 3, H, W]` to `[B, classes, H/8, W/8]`."""
        x = self.pool(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        size = x.shape[2:]
        resized = [
            functional.interpolate(
                branch(x), size, mode="bilinear", align_corners=self.align_corners
            )
            for branch in self.branches
        ]
        return self.classifier(self.head(torch.cat([x, *resized], 1)))


def randomise(model, seed):
    """Draws kernels, and batch norms that are not the identity."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)


def layers_of(model):
    """Returns the convolutions and batch norms by psp_jax's paths."""
    layers = {}
    for index in range(len(model.stem) // 3):
        layers[f"trunk/stem/conv{index + 1}"] = model.stem[3 * index]
        layers[f"trunk/stem/norm{index + 1}"] = model.stem[3 * index + 1]
    for stage, blocks in enumerate(model.stages, start=1):
        for number, block in enumerate(blocks, start=1):
            path = f"trunk/stage{stage}/block{number}"
            for index in (1, 2, 3):
                layers[f"{path}/conv{index}"] = getattr(block, f"conv{index}")
                layers[f"{path}/norm{index}"] = getattr(block, f"bn{index}")
            if block.downsample is not None:
                layers[f"{path}/shortcut_conv"] = block.downsample[0]
                layers[f"{path}/shortcut_norm"] = block.downsample[1]
    for count, branch in zip(model.bins, model.branches, strict=True):
        layers[f"pyramid/conv{count}"] = branch[1]
        layers[f"pyramid/norm{count}"] = branch[2]
    layers["head/conv"] = model.head[0]
    layers["head/norm"] = model.head[1]
    layers["classifier"] = model.classifier
    return layers


def variables_of(model, *, gradients=False):
    """Returns the values or gradients as psp_jax's variables."""
    params, statistics = {}, {}

    def array(tensor):
        return np.array((tensor.grad if gradients else tensor).detach().numpy())

    for path, module in layers_of(model).items():
        *parents, name = path.split("/")
        param_node, statistics_node = params, statistics
        for part in parents:
            param_node = param_node.setdefault(part, {})
            statistics_node = statistics_node.setdefault(part, {})
        if isinstance(module, nn.Conv2d):
            param_node[name] = {"kernel": array(module.weight).transpose(2, 3, 1, 0)}
            if module.bias is not None:
                param_node[name]["bias"] = array(module.bias)
        else:
            param_node[name] = {"scale": array(module.weight), "bias": array(module.bias)}
            statistics_node[name] = {
                "mean": np.array(module.running_mean.numpy()),
                "var": np.array(module.running_var.numpy()),
            }
    return {"params": params, "batch_stats": prune(statistics)}


def prune(tree):
    """Drops empty dicts."""
    kept = {
        name: prune(child) if isinstance(child, dict) else child for name, child in tree.items()
    }
    return {name: child for name, child in kept.items() if not isinstance(child, dict) or child}


def fill(model, leaves):
    """Copies arrays by psp_jax's paths, which start with the collection, into the model."""
    with torch.no_grad():
        for path, module in layers_of(model).items():
            if isinstance(module, nn.Conv2d):
                kernel = leaves[f"params/{path}/kernel"].transpose(3, 2, 0, 1)
                module.weight.copy_(torch.from_numpy(kernel.copy()))
                if module.bias is not None:
                    module.bias.copy_(torch.from_numpy(leaves[f"params/{path}/bias"]))
            else:
                assert module.running_mean is not None and module.running_var is not None
                module.weight.copy_(torch.from_numpy(leaves[f"params/{path}/scale"]))
                module.bias.copy_(torch.from_numpy(leaves[f"params/{path}/bias"]))
                module.running_mean.copy_(torch.from_numpy(leaves[f"batch_stats/{path}/mean"]))
                module.running_var.copy_(torch.from_numpy(leaves[f"batch_stats/{path}/var"]))


def time_training_step(*, layers, classes, width, size, batch, repeats, fused):
    """Times a training step in bfloat16, on a GPU if there is one; `fused` compiles it.

    Returns the seconds of the first three steps, and the mean milliseconds of the next ones.
    """
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    model = PSPNet(layers, classes, width=width).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=cuda)
    image = torch.randn(batch, 3, *size, device=device)
    image = image.to(memory_format=torch.channels_last)
    target = torch.randint(0, classes, (batch, *size), device=device)
    network = torch.compile(model) if fused else model

    def step():
        with torch.autocast(device, torch.bfloat16):
            output = network(image)
        output = functional.interpolate(output.float(), size, mode="bilinear", align_corners=True)
        loss = functional.cross_entropy(output, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()

    def seconds(count):
        start = time.perf_counter()
        for _ in range(count):
            step()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    # The first calls compile, and cuDNN chooses its algorithms.
    return seconds(3), seconds(repeats) / repeats * 1000
