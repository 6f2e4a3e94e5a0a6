"""The settings of a training run: one section a matter, each a dataclass.

Numbers are those of TVTSv2's released recipe (arXiv 2305.14173, the released configuration of
ViT-B/16) where it has one; docs/training.md says why the others are as they are. What the network
is stands in `model`, a `TVTSConfig`: its size, its losses, its share of masked patches, how many
frames and transcripts a window has and how frames are prepared, each in one place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

from reelscript.models.tvts import configs
from reelscript.models.tvts.configs import TVTSConfig

Count: TypeAlias = Annotated[int, Ge(1)]
Natural: TypeAlias = Annotated[int, Ge(0)]
Positive: TypeAlias = Annotated[float, Gt(0)]
NotNegative: TypeAlias = Annotated[float, Ge(0)]
Share: TypeAlias = Annotated[float, Ge(0), Le(1)]
Metric: TypeAlias = Literal["sorting_accuracy", "loss"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """How windows are cut from the corpus and read.

    Attributes:
        windows: `clips`: K clips that follow one another; `official`: K stretches of 3 to 5 s with
            gaps of 1 s, wherever they fall (the released loader).
        stride: of `clips`: clips from one window to the next; None: K, so that none is in two.
        release: of the corpus; None: the newest when the run begins, and the same from then on.
        captions: corpus or folder of tars of captioned clips, trained with the contrastive loss
            beside the windows; None: none.
        frames: `seen`, or `blank`: every pixel is the mean, so that what a head learns, it learns
            without eyes: a floor for `reelscript evaluate --blind`.
        transcripts: `own`, or `others`: each window has those of the next one in its batch, so that
            nothing can be learned: what is learned nevertheless is a fault somewhere.
        workers: processes that decode for each training process; None: as many as there are cores,
            shared among the training processes of the machine.
        max_failed: largest share of windows that cannot be read; above it the run ends.
    """

    windows: Literal["clips", "official"] = "clips"
    stride: Count | None = None
    release: Natural | None = None
    captions: str | None = None
    frames: Literal["seen", "blank"] = "seen"
    transcripts: Literal["own", "others"] = "own"
    workers: Natural | None = None
    max_failed: Share = 0.01


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How the weights are changed.

    Attributes:
        epochs: how often every window is seen; `steps` goes before it.
        steps: how many steps training has; None: as many as `epochs` need.
        batch: windows of a step, of all processes together; and as many captioned clips.
        accumulation: parts into which each process cuts its share of a batch. A clip is then
            contrasted with those of its own part alone.
        streams: `together`: one step for windows and captioned clips; `official`: two steps in
            turn, where the sorting head moves in the second one as well, by momentum and decay.
        learning_rate: of what comes from CLIP.
        new_learning_rate: of attention over time, its norms and the sorting head.
        time_embedding: learns like what is `new`, or, as the released code has it (`official`),
            like what comes from CLIP.
        weight_decay: of everything but biases and norms; decoupled (AdamW).
        betas: of Adam.
        eps: of Adam.
        schedule: `milestones`: the rates are multiplied by `factor` at each milestone; `cosine`:
            they fall to `factor` times themselves; `constant`.
        milestones: as shares of the training.
        factor: see `schedule`.
        warmup_steps: in which the rates rise from 0 in a straight line.
        clip_norm: longest gradient; a longer one is shortened to it; None: none is.
    """

    epochs: Count = 10
    steps: Count | None = None
    batch: Count = 960
    accumulation: Count = 1
    streams: Literal["together", "official"] = "together"
    learning_rate: NotNegative = 1e-7
    new_learning_rate: NotNegative = 1e-4
    time_embedding: Literal["new", "official"] = "new"
    weight_decay: NotNegative = 0.05
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.999)
    eps: Positive = 1e-6
    schedule: Literal["milestones", "cosine", "constant"] = "milestones"
    milestones: tuple[Share, ...] = (0.6, 0.8)
    factor: Share = 0.1
    warmup_steps: Natural = 0
    clip_norm: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What computes, and how.

    Attributes:
        device: `auto`: a GPU of this process if there is one.
        precision: of matrix products: `bfloat16` by autocast, or `float32`. Parameters, their
            moments, similarities and losses are float32 either way.
        compile: whether torch compiles the network.
        recompute: whether activations within blocks are computed again in the backward pass instead
            of kept: less memory, a third more work.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    recompute: bool = False


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Looks at windows of held-out videos, without a mask.

    Attributes:
        every_steps: how often; None: never.
        windows: how many, at most.
    """

    every_steps: Count | None = None
    windows: Count = 1024


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """What is kept of the run's states.

    Attributes:
        every_steps: how often one is written; one more at the end.
        keep: how many of the newest stay.
        keep_every_steps: those of such steps stay as well; None: no others do.
        best: the weights that were best in this by validation are kept as `best.safetensors`: the
            highest `sorting_accuracy` or the lowest `loss`; None: none are.
    """

    every_steps: Count = 1000
    keep: Count = 3
    keep_every_steps: Count | None = None
    best: Metric | None = None


@dataclass(frozen=True, kw_only=True)
class Logging:
    """What is told while it runs.

    Attributes:
        every_steps: how often a line is written.
        tensorboard: whether also for TensorBoard, if its package is there.
        peak_tflops: of one device, 1e12 operations a second, for the share of it that is used;
            None: known of H100 and H200 in bfloat16, else not told.
    """

    every_steps: Count = 10
    tensorboard: bool = True
    peak_tflops: Positive | None = None


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """All settings of a training run.

    Attributes:
        model: the network.
        weights: file of weights to begin with: CLIP's, released ones, or ours; None: random ones.
        seed: everything that is drawn follows from it.
    """

    model: TVTSConfig = field(default_factory=configs.b16)
    weights: str | None = None
    seed: Natural = 0
    data: Data = field(default_factory=Data)
    optimisation: Optimisation = field(default_factory=Optimisation)
    compute: Compute = field(default_factory=Compute)
    validation: Validation = field(default_factory=Validation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    logging: Logging = field(default_factory=Logging)
