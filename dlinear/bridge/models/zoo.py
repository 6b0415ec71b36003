"""ResNet-50 and ViT-B/16 with LoRA of the `transformers` library, cut into blocks (extra `zoo`).

    resnet50   T = 17: the embedding, then 3 + 4 + 6 + 3 bottleneck layers; readout: pool, classifier
    vit        T = 13: the embedding, then 12 transformer layers; readout: layer norm, class token, classifier

The stack computes the logits of the library's model. Weights are random, drawn from the seed, unless a
`checkpoint` is named: a local folder with config.json and *.safetensors (never a pickle) or, with
`download=True`, a name on the Hugging Face hub. A classifier for another number of classes is drawn anew.

Images of another size than the model's are resized, bilinearly, by the first block. With LoRA the low-rank
factors at q_proj and v_proj and the readout are trained and all else is frozen. The state x(1) of the ViT is
the embedding, whose class token has not met the image yet: L(x(1)) does not depend on the image.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, float32, nn

from dlinear.bridge.models.readouts import Exits, ReadoutKind, Shared, check_readout, image_readout
from dlinear.bridge.models.stack import Stack, TaskShape
from dlinear.checks import as_integer, as_number
from dlinear.errors import DataError, DlinearError, DomainError, ShapeError
from dlinear.optional import needed

Config = Mapping[str, Any] | None
CheckpointPath = str | os.PathLike[str] | None


class Entrance(nn.Module):
    """The embedding of images that are resized to (size, size) first; size None leaves them alone."""

    def __init__(self, embedding: nn.Module, size: int | None) -> None:
        super().__init__()
        self.embedding, self.size = embedding, size

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the first state."""
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            x = nn.functional.interpolate(x, (self.size, self.size), mode="bilinear", antialias=True)
        out: Tensor = self.embedding(x)
        return out


class ClassToken(nn.Module):
    """(N, tokens, n) to the first token, (N, n)."""

    def forward(self, z: Tensor) -> Tensor:
        """The class token."""
        return z[:, 0]


def resnet50(
    task: TaskShape,
    seed: int,
    *,
    checkpoint: CheckpointPath = None,
    download: bool = False,
    config: Config = None,
    image_size: int | None = None,
    readout: ReadoutKind = "shared",
) -> Stack:
    """ResNet-50 (He et al. 2016): every parameter is trained.

    Args:
        task: sizes; the inputs are images (channels, height, width).
        seed: of everything that is not loaded.
        checkpoint: see above.
        download: whether a checkpoint may be fetched.
        config: changes to `transformers.ResNetConfig`, for example {"depths": [1, 1, 1, 1]}.
        image_size: side to which images are resized; None leaves them as they are.
        readout: "shared", "exits" or "fixed"; the last replaces the classifier by a fixed matrix.

    Raises:
        MissingDependencyError: transformers is not installed.
        DataError: a checkpoint that is missing, damaged or of another architecture.
        ShapeError: inputs that are not images, or of another number of channels than the checkpoint.
        DomainError: an unknown readout, or a config beside a checkpoint.
    """
    check_readout(readout)
    with needed("the model resnet50"):
        from transformers import ResNetConfig, ResNetForImageClassification
    source = _Source(checkpoint, download, config)
    model = _load("resnet50", ResNetForImageClassification, ResNetConfig, task, source)
    body = model.resnet
    layers = [layer for stage in body.encoder.stages for layer in stage.layers]
    channels = [body.config.embedding_size]
    for stage, wide in zip(body.encoder.stages, body.config.hidden_sizes, strict=True):
        channels += [wide] * len(stage.layers)
    head = image_readout(readout, channels, task.outputs, seed)
    if readout != "fixed":
        last: Any = head.heads[-1] if isinstance(head, Exits) else head.head
        last[-1] = model.classifier[-1]
    return Stack([Entrance(body.embedder, image_size), *layers], head)


def vit(
    task: TaskShape,
    seed: int,
    *,
    checkpoint: CheckpointPath = None,
    download: bool = False,
    config: Config = None,
    lora_rank: int = 8,
    lora_alpha: float = 16.0,
    attention: Literal["sdpa", "eager"] = "sdpa",
    readout: ReadoutKind = "shared",
) -> Stack:
    """ViT-B/16 (Dosovitskiy et al. 2021) with LoRA at the query and value projections.

    Args:
        task: sizes; the inputs are images (channels, height, width).
        seed: of everything that is not loaded.
        checkpoint: see above.
        download: whether a checkpoint may be fetched.
        config: changes to `transformers.ViTConfig`, for example {"num_hidden_layers": 2}.
        lora_rank: rank of the trained factors; 0 trains every parameter instead.
        lora_alpha: the factors act times lora_alpha/lora_rank.
        attention: the implementation; "eager" also stores the attention matrices, and is what
            forward-mode differentiation needs on the CPU (torch has no such rule for "sdpa" there).
        readout: "shared" or "exits" (a layer norm and a classifier for every state).

    Raises:
        MissingDependencyError: transformers or peft is not installed.
        DataError: a checkpoint that is missing, damaged or of another architecture.
        ShapeError: inputs that are not images, or of another number of channels than the checkpoint.
        DomainError: an unknown or unsuitable knob, or a config beside a checkpoint.
    """
    check_readout(readout)
    if readout == "fixed":
        raise DomainError("readout of vit must be one of shared, exits, not 'fixed'")
    as_integer("lora_rank", lora_rank, 0)
    as_number("lora_alpha", lora_alpha)
    with needed("the model vit"):
        from transformers import ViTConfig, ViTForImageClassification
    source = _Source(checkpoint, download, config)
    model = _load("vit", ViTForImageClassification, ViTConfig, task, source, attn_implementation=attention)
    if lora_rank:
        _add_lora(model, lora_rank, lora_alpha)
    body = model.vit
    blocks = [Entrance(body.embeddings, body.config.image_size), *body.layers]
    head = nn.Sequential(body.layernorm, ClassToken(), model.classifier)
    if readout == "shared":
        return Stack(blocks, Shared(head))
    heads = [
        nn.Sequential(
            copy.deepcopy(body.layernorm), ClassToken(), nn.Linear(body.config.hidden_size, task.outputs)
        )
        for _ in blocks[:-1]
    ]
    return Stack(blocks, Exits([*heads, head]))


def _add_lora(model: Any, rank: int, alpha: float) -> None:
    """Add the factors in place, which freezes all else, and free the final layer norm and the classifier."""
    with needed("the model vit"):
        from peft import LoraConfig, inject_adapter_in_model
    knobs = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["q_proj", "v_proj"])
    inject_adapter_in_model(knobs, model)
    for part in (model.vit.layernorm, model.classifier):
        part.requires_grad_(True)


@dataclass(frozen=True)
class _Source:
    """Where the weights come from; see the builders."""

    checkpoint: CheckpointPath
    download: bool
    config: Config


def _load(
    name: str, architecture: Any, configuration: Any, task: TaskShape, source: _Source, **extra: Any
) -> Any:
    """The library's model: random from its configuration, or from a checkpoint."""
    checkpoint, config = source.checkpoint, dict(source.config or {})
    if len(task.inputs) != 3:
        raise ShapeError(f"{name} takes images (channels, height, width), not inputs {task.inputs}")
    with needed(f"the model {name}"):
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError
        from transformers import AutoConfig
    if checkpoint is None:
        if unknown := sorted(
            set(config) - set(configuration().to_dict())
        ):  # the library would take it silently
            raise DomainError(f"the config of {name} has no entry {unknown[0]!r}")
        sizes = {"num_labels": task.outputs, "num_channels": task.inputs[0]}
        try:
            return architecture(configuration(**(config | sizes | extra)))
        except (TypeError, ValueError, KeyError, StrictDataclassError) as error:
            raise DomainError(f"{name} cannot be built from config {config}: {_line(error)}") from error
    if config:
        raise DomainError(f"{name} has the config of its checkpoint; received {config} beside it")
    if not source.download and not Path(checkpoint).is_dir():
        raise DataError(f"{checkpoint} is not a folder; pass download=True to fetch a checkpoint by name")
    try:
        found = AutoConfig.from_pretrained(checkpoint, local_files_only=not source.download)
        if found.model_type != configuration.model_type:
            raise DataError(f"{checkpoint} holds a model of type {found.model_type}, not {name}")
        if found.num_channels != task.inputs[0]:
            raise ShapeError(f"{checkpoint} takes {found.num_channels} channels, not inputs {task.inputs}")
        model, report = architecture.from_pretrained(
            checkpoint,
            num_labels=task.outputs,
            ignore_mismatched_sizes=True,  # the classifier's; of anything else the report is refused below
            local_files_only=not source.download,
            use_safetensors=True,
            output_loading_info=True,
            dtype=float32,
            **extra,
        )
    except DlinearError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{checkpoint} could not be loaded as {name}: {_line(error)}") from error
    wrong = sorted(key for key in _lacking(report) if not key.startswith("classifier."))
    if wrong:
        raise DataError(f"{checkpoint} is not a {name}: {len(wrong)} weights do not fit, first {wrong[0]}")
    return model


def _lacking(report: Mapping[str, Any]) -> set[str]:
    """Names of the parameters that a checkpoint lacks or has in another shape."""
    mismatched = {key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]}
    return set(report["missing_keys"]) | mismatched


def _line(error: Exception) -> str:
    """What a library said, in one line that is not long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."


BUILDERS = {"resnet50": resnet50, "vit": vit}
