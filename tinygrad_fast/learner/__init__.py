"""The Learner and what belongs to it, with fastai's names. Read loop.py first, then learner.py."""

from .callbacks import (
    CSVLogger,
    EarlyStoppingCallback,
    GradientAccumulation,
    GradientClip,
    ParamScheduler,
    SaveModelCallback,
    TrackerCallback,
    TrainEvalCallback,
)
from .events import (
    Callback,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
from .graph_step import GraphStep
from .groups import even_mults, trainable_params
from .interpret import ClassificationInterpretation
from .learner import Adam, Learner, load_learner
from .losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, L1LossFlat, MSELossFlat
from .lr_find import minimum, slide, steep, valley
from .metrics import (
    AccumMetric,
    AvgMetric,
    Metric,
    accuracy,
    accuracy_multi,
    error_rate,
    mae,
    mse,
    rmse,
    top_k_accuracy,
)
from .mixed_precision import MixedPrecision
from .progress import ProgressCallback
from .recorder import NonFiniteLoss, Recorder

__all__ = [
    "AccumMetric",
    "Adam",
    "AvgMetric",
    "BCEWithLogitsLossFlat",
    "CSVLogger",
    "Callback",
    "CancelBackwardException",
    "CancelBatchException",
    "CancelEpochException",
    "CancelFitException",
    "CancelStepException",
    "CancelTrainException",
    "CancelValidException",
    "ClassificationInterpretation",
    "CrossEntropyLossFlat",
    "EarlyStoppingCallback",
    "GradientAccumulation",
    "GradientClip",
    "GraphStep",
    "L1LossFlat",
    "Learner",
    "MSELossFlat",
    "Metric",
    "MixedPrecision",
    "NonFiniteLoss",
    "ParamScheduler",
    "ProgressCallback",
    "Recorder",
    "SaveModelCallback",
    "TrackerCallback",
    "TrainEvalCallback",
    "accuracy",
    "accuracy_multi",
    "error_rate",
    "even_mults",
    "load_learner",
    "mae",
    "minimum",
    "mse",
    "rmse",
    "slide",
    "steep",
    "top_k_accuracy",
    "trainable_params",
    "valley",
]
