"""Architectures from small configurations: transformers (images, video, sound, text), MONAI and torchxrayvision."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from torch import nn

from benchmarks.zoo.architecture import CLASSES, Architecture, Scores, logits, sum_over_own_pixels

#: Of a plain transformer: four blocks of width 32.
_PLAIN = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64}
_STAGES: dict[str, Any] = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
_PYRAMID: dict[str, Any] = {**_STAGES, "num_attention_heads": [1, 2, 2, 4]}
_WINDOWS: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2, 2], "num_heads": [2, 2, 4], "window_size": 4}

#: transformers' classifiers: name before ``ForImageClassification``, settings, whether one of them is the image's size.
IMAGES: dict[str, tuple[dict[str, Any], bool]] = {
    "Beit": (_PLAIN, True),
    "Bit": ({"embedding_size": 32, "hidden_sizes": [128, 128, 128, 128], "depths": [1, 1, 2, 1]}, False),
    "CLIP": ({"vision_config": {**_PLAIN, "patch_size": 16}, "text_config": _PLAIN}, True),
    "ConvNext": (_STAGES, False),
    "ConvNextV2": (_STAGES, False),
    "Cvt": ({"embed_dim": [16, 32, 64], "num_heads": [1, 2, 4], "depth": [1, 2, 3]}, False),
    "Data2VecVision": (_PLAIN, True),
    "DeiT": (_PLAIN, True),
    "Dinov2": ({**_PLAIN, "patch_size": 16}, True),
    "Dinov2WithRegisters": (_PLAIN, True),
    "EfficientNet": ({"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640}, False),
    "FocalNet": ({"embed_dim": 16, "hidden_sizes": [32, 64, 64], "depths": [1, 1, 2], "focal_levels": [2, 2, 2],
                  "focal_windows": [3, 3, 3]}, True),
    "HGNetV2": ({}, False),
    "Hiera": ({"embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 2, 4], "patch_size": [4, 4],
              "patch_padding": [0, 0]}, True),
    "IJepa": (_PLAIN, True),
    "Levit": ({"hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 2],
               "key_dim": [16, 16, 16]}, True),
    "MobileNetV1": ({"depth_multiplier": 0.25}, False),
    "MobileNetV2": ({"depth_multiplier": 0.35}, False),
    "MobileViT": ({"hidden_sizes": [32, 48, 64], "neck_hidden_sizes": [16, 16, 24, 24, 32, 40, 160]}, True),
    "MobileViTV2": ({"width_multiplier": 0.5}, True),
    "PoolFormer": (_STAGES, False),
    "Pvt": ({**_PYRAMID}, True),
    "PvtV2": (_PYRAMID, True),
    "RegNet": ({"embedding_size": 16, **_STAGES, "groups_width": 8}, False),
    "ResNet": ({"embedding_size": 16, **_STAGES, "layer_type": "basic"}, False),
    "Segformer": ({**_PYRAMID}, False),
    "Siglip": ({"vision_config": {**_PLAIN, "patch_size": 16}, "text_config": _PLAIN}, True),
    "SwiftFormer": ({"depths": [1, 1, 2, 1], "embed_dims": [16, 24, 32, 48]}, True),
    "Swin": (_WINDOWS, True),
    "Swinv2": (_WINDOWS, True),
    "TextNet": ({}, False),
    "ViT": (_PLAIN, True),
    "ViTMSN": (_PLAIN, True),
}  # fmt: skip


def _image_classifier(name: str, settings: dict[str, Any], sized: bool) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        options = {key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()}
        if sized:
            options.get("vision_config", options)["image_size"] = [size, size] if name == "Hiera" else size
        return _pretrained(name, "ForImageClassification", options)

    return build


def _pretrained(name: str, task: str, settings: dict[str, Any]) -> nn.Module:
    """A model of transformers with random weights, reduced to its logits."""
    import transformers

    configuration = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **settings)
    return Scores(getattr(transformers, f"{name}{task}")(configuration), logits)


def _video(name: str, **settings: Any) -> Callable[[int], nn.Module]:
    return lambda size: _pretrained(
        name, "ForVideoClassification", {**_PLAIN, "image_size": size, "num_frames": size // 8, **settings}
    )


def _spectrogram(size: int) -> nn.Module:
    settings = {**_PLAIN, "max_length": size, "num_mel_bins": 32, "frequency_stride": 16, "time_stride": 16}
    return _pretrained("AST", "ForAudioClassification", settings)


def _waveform(size: int) -> nn.Module:
    settings = {**_PLAIN, "conv_dim": (16, 16, 16), "conv_stride": (5, 4, 2), "conv_kernel": (10, 8, 4),
                "num_feat_extract_layers": 3, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
                "classifier_proj_size": 16}  # fmt: skip
    return _pretrained("Wav2Vec2", "ForSequenceClassification", settings)


def _text(size: int) -> nn.Module:
    return _pretrained(
        "Bert", "ForSequenceClassification", {**_PLAIN, "vocab_size": 100, "max_position_embeddings": 64}
    )


#: MONAI's networks: name, number of dimensions, what to give besides the channels, whether it is a segmentation.
MONAI: tuple[tuple[str, int, dict[str, Any], bool], ...] = (
    ("DenseNet121", 2, {}, False),
    ("DenseNet121", 3, {"block_config": (2, 2, 2, 2)}, False),
    ("EfficientNetBN", 2, {"model_name": "efficientnet-b0", "pretrained": False}, False),
    ("EfficientNetBN", 3, {"model_name": "efficientnet-b0", "pretrained": False}, False),
    ("ResNet", 2, {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [16, 32, 48, 64]}, False),
    ("ResNet", 3, {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [16, 32, 48, 64]}, False),
    ("SEResNet50", 2, {}, False),
    ("SEResNet50", 3, {"layers": (1, 1, 1, 1)}, False),
    ("AttentionUnet", 2, {"channels": (8, 16, 32), "strides": (2, 2)}, True),
    ("BasicUNet", 2, {"features": (8, 8, 16, 32, 64, 8)}, True),
    ("BasicUNet", 3, {"features": (8, 8, 16, 32, 64, 8)}, True),
    ("BasicUNetPlusPlus", 2, {"features": (8, 8, 16, 32, 64, 8)}, True),
    ("DynUNet", 3, {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2],
                    "filters": [8, 16, 32]}, True),
    ("HighResNet", 2, {}, True),
    ("MedNeXt", 3, {"init_filters": 8, "kernel_size": 3, "blocks_down": (1, 1), "blocks_up": (1, 1),
                    "blocks_bottleneck": 1}, True),
    ("SegResNet", 2, {}, True),
    ("SegResNet", 3, {"blocks_down": (1, 1, 2), "blocks_up": (1, 1)}, True),
    ("SegResNetDS", 2, {"init_filters": 8}, True),
    ("SwinUNETR", 2, {"feature_size": 12, "window_size": 4}, True),
    ("UNet", 2, {"channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 2}, True),
    ("UNet", 3, {"channels": (8, 16, 32), "strides": (2, 2), "num_res_units": 2}, True),
    ("UNETR", 2, {"feature_size": 8, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "img_size": "size"}, True),
    ("UNETR", 3, {"feature_size": 8, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4, "img_size": "size"}, True),
    ("VNet", 2, {}, True),
    ("ViT", 2, {"hidden_size": 48, "mlp_dim": 96, "num_layers": 4, "num_heads": 4, "patch_size": 16, "img_size": "size",
                "classification": True}, False),
    ("ViT", 3, {"hidden_size": 48, "mlp_dim": 96, "num_layers": 4, "num_heads": 4, "patch_size": 16, "img_size": "size",
                "classification": True}, False),
)  # fmt: skip


def _monai(name: str, dimensions: int, settings: dict[str, Any], segments: bool) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        from monai.networks import nets

        network_class = getattr(nets, name)
        options = {key: [size] * dimensions if value == "size" else value for key, value in settings.items()}
        parameters = inspect.signature(network_class).parameters
        names = {*parameters, *inspect.signature(network_class.__mro__[1]).parameters}
        options["spatial_dims"] = dimensions
        options["n_input_channels" if "n_input_channels" in names else "in_channels"] = 1
        options["num_classes" if "num_classes" in names else "out_channels"] = CLASSES
        network: nn.Module = network_class(**options)
        if name == "ViT":
            return Scores(network, itemgetter(0))
        return Scores(network, sum_over_own_pixels) if segments else network

    return build


def _torchxrayvision(size: int) -> nn.Module:
    from torchxrayvision.models import DenseNet

    network: nn.Module = DenseNet(weights=None, num_classes=CLASSES, apply_sigmoid=False)
    return network


BY_CONFIGURATION = (
    *(
        Architecture("transformers", f"{name}ForImageClassification", _image_classifier(name, *how), 64, 96)
        for name, how in IMAGES.items()
    ),
    Architecture("transformers", "VideoMAEForVideoClassification", _video("VideoMAE"), 64, 96, "frames"),
    Architecture("transformers", "TimesformerForVideoClassification", _video("Timesformer"), 64, 96, "frames"),
    Architecture("transformers", "VivitForVideoClassification", _video("Vivit"), 64, 96, "frames"),
    Architecture("transformers", "ASTForAudioClassification", _spectrogram, 64, 96, "spectrogram"),
    Architecture("transformers", "Wav2Vec2ForSequenceClassification", _waveform, 1600, 2400, "waveform"),
    Architecture("transformers", "BertForSequenceClassification", _text, 12, 20, "text"),
    *(
        Architecture("monai", f"{name}, {dimensions}-D", _monai(name, dimensions, settings, segments),
                     *((64, 96) if dimensions == 2 else (32, 64)),
                     "film" if dimensions == 2 else "volume")
        for name, dimensions, settings, segments in MONAI
    ),
    Architecture("torchxrayvision", "DenseNet", _torchxrayvision, 64, 96, "film"),
)  # fmt: skip
