"""Architectures that a package builds by name: timm, torchvision, segmentation_models_pytorch and open_clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.zoo.architecture import CLASSES, Architecture, Scores, sum_over_boxes, sum_over_own_pixels

#: A small network of each family of timm, at 64 and 96 pixels.
TIMM = """
test_vit beit_base_patch16_224 botnet26t_256 lambda_resnet26t eca_botnext26ts_256 sebotnet33ts_256 gernet_s
mobileone_s0 regnetz_b16 repvgg_a0 resnet50_clip resnet51q test_byobnet cait_xxs24_224 coat_lite_tiny coat_tiny
convit_tiny convmixer_768_32 convnext_atto convnext_zepto_rms convnextv2_atto test_convnext cpubone_nano csatv2
cspresnet50 cs3darknet_focus_s cspnext_tiny davit_tiny deit_tiny_patch16_224 deit_tiny_distilled_patch16_224
deit3_small_patch16_224 densenet121 dla46_c dpn48b edgenext_xx_small efficientformerv2_s0 efficientnet_b0
efficientnet_lite0 efficientnet_cc_b0_4e efficientnetv2_rw_t fbnetc_100 mixnet_s mnasnet_small mobilenet_edgetpu_v2_xs
mobilenetv2_035 tinynet_e efficientvim_m1 efficientvit_b0 efficientvit_m0 efficientvit_l1 eva02_tiny_patch14_224
vit_tiny_patch16_dinov3_qkvb vit_small_patch16_rope_224 vit_pe_core_tiny_patch16_384
vit_medium_patch16_rope_reg1_gap_256 fasternet_t0 fastvit_t8 fastvit_mci0 focalnet_tiny_srf gcvit_xxtiny
gemma4_vit_167m ghostnet_050 ghostnetv2_100 ghostnetv3_050 hardcorenas_a hgnetv2_b0 hiera_tiny_224 hieradet_small
sam2_hiera_tiny hrnet_w18_small iformer_t inception_next_atto lcnetv2_small levit_128s levit_conv_128s lowformer_b0
mambaout_femto coatnet_pico_rw_224 maxvit_pico_rw_256 maxxvit_rmlp_nano_rw_256 test_maxvit test_coatnet caformer_s18
convformer_s18 poolformer_s12 gmixer_12_224 gmlp_ti16_224 mixer_s32_224 resmlp_12_224 fbnetv3_b lcnet_035
mobilenetv3_small_050 mobilenetv4_conv_small_035 mobilenetv4_hybrid_medium_075 mobilenetv5_base mobilevit_xxs
mobilevitv2_050 mvitv2_tiny mvitv2_small_cls naflexvit_base_patch16_gap nasnetalarge nest_tiny nextvit_small nfnet_l0
nf_regnet_b0 test_nfnet pit_ti_224 pit_ti_distilled_224 pnasnet5large pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002
regnety_002 regnetz_005 repghostnet_050 repvit_m0_9 res2net50_48w_2s resnest14d resnet10t resnet50_gn resnetblur18
seresnet18 ecaresnet26t resnetv2_18 resnetv2_50x1_bit rexnet_100 selecsls42 legacy_seresnet18 sequencer2d_s shvit_s1
skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 swinv2_cr_tiny_224
tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small vgg11 visformer_tiny
vit_tiny_patch16_224 vit_small_patch14_dinov2 vit_small_patch14_reg4_dinov2 vit_xsmall_patch16_clip_224
vit_medium_patch16_gap_240 vit_base_patch32_siglip_256 vit_wee_patch16_reg1_gap_256 vit_dwee_patch16_reg1_gap_256
vit_pwee_patch16_reg1_gap_256 flexivit_small vit_small_patch16_18x2_224 vit_so150m_patch16_reg4_map_256
vit_base_patch16_rpn_224 vit_tiny_r_s16_p8_224 vit_small_r26_s32_224 test_vit_relpos vit_relpos_small_patch16_224
vit_srelpos_small_patch16_224 samvit_base_patch16_224 vitamin_small_224 volo_d1_224 ese_vovnet19b_slim_dw
legacy_xception xception41 xcit_nano_12_p16_224
"""

#: Those that take larger images only, with their sizes.
TIMM_LARGE = {
    "halonet26t": (256, 512),
    "crossvit_tiny_240": (240, 480),
    "efficientformer_l1": (224, 224),
    "inception_v3": (96, 112),
    "inception_v4": (96, 112),
}

TORCHVISION = """
alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 mnasnet0_5 mobilenet_v2
mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t
swin_v2_t vgg11 vit_b_32
"""
TORCHVISION_SIZES = {
    "alexnet": (96, 128),
    "inception_v3": (96, 128),
    "squeezenet1_1": (96, 128),
}
SEGMENTATION = ("deeplabv3_mobilenet_v3_large", "fcn_resnet50", "lraspp_mobilenet_v3_large")
DETECTION = (
    "fasterrcnn_mobilenet_v3_large_fpn", "fcos_resnet50_fpn", "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn",
    "retinanet_resnet50_fpn",
)  # fmt: skip
VIDEO = ("mc3_18", "r2plus1d_18", "r3d_18", "mvit_v1_b", "mvit_v2_s", "swin3d_t")
SMP = (
    "DPT",
    "DeepLabV3",
    "DeepLabV3Plus",
    "FPN",
    "Linknet",
    "MAnet",
    "PAN",
    "PSPNet",
    "Segformer",
    "UPerNet",
    "Unet",
    "UnetPlusPlus",
)
OPEN_CLIP = {
    "RN50": (64, 96),
    "ViT-B-32": (64, 96),
    "ViT-B-16-SigLIP": (64, 96),
    "convnext_base": (64, 96),
    "MobileCLIP-S1": (64, 96),
    "ViTamin-S": (64, 96),
}


def _timm(name: str) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        import timm

        try:
            network: nn.Module = timm.create_model(name, num_classes=CLASSES, img_size=size)
        except TypeError:  # takes images of any size
            network = timm.create_model(name, num_classes=CLASSES)
        return network

    return build


def _torchvision(name: str, **options: Any) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        from torchvision.models import get_model

        fixed: dict[str, Any] = {"image_size": size} if name.startswith("vit_") else {}
        network: nn.Module = get_model(name, weights=None, num_classes=CLASSES, **fixed, **options)
        return network

    return build


def _segmentation(name: str) -> Callable[[int], nn.Module]:
    return lambda size: Scores(_torchvision(name, weights_backbone=None)(size), sum_over_own_pixels)


def _detection(name: str) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        options: dict[str, Any] = {"weights_backbone": None, "min_size": size, "max_size": size}
        threshold = "score_thresh" if name.startswith(("retina", "fcos")) else "box_score_thresh"
        return Boxes(_torchvision(name, **options, **{threshold: 0.0})(size), sum_over_boxes)

    return build


class Boxes(Scores):
    """A detector of torchvision, which takes a list of images."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Scores (N, K) of a batch."""
        return self._scores(self.network(list(inputs)))


def _mvit(name: str) -> Callable[[int], nn.Module]:
    """The named blocks for smaller videos: torchvision's functions fix the size of theirs, 16 frames of 224 pixels."""

    def build(size: int) -> nn.Module:
        from torchvision.models.video import mvit

        def of_this_size(**options: Any) -> nn.Module:
            network: nn.Module = made(**{**options, "spatial_size": (size, size), "temporal_size": size // 8})
            return network

        made = mvit.MViT
        with mock.patch.object(mvit, "MViT", of_this_size):
            return _torchvision(name)(size)

    return build


def _maxvit(size: int) -> nn.Module:
    """Small, for the named ones take 224 pixels at least."""
    from torchvision.models import MaxVit

    network: nn.Module = MaxVit((size, size), 16, 2, [16, 32], [2, 2], 16, 0.0, num_classes=CLASSES)
    return network


def _smp(name: str) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        import segmentation_models_pytorch as smp

        encoder = "tu-vit_tiny_patch16_224" if name == "DPT" else "resnet18"
        options = {"dynamic_img_size": True} if name == "DPT" else {}
        network = getattr(smp, name)(encoder, encoder_weights=None, classes=CLASSES, **options)
        return Scores(network, sum_over_own_pixels)

    return build


class ZeroShot(nn.Module):
    """A contrastive network as a classifier: an image's likeness to the embeddings of some words."""

    def __init__(self, network: nn.Module, words: Tensor) -> None:
        super().__init__()
        self.visual: nn.Module = network.get_submodule("visual")
        self.words = nn.Parameter(words, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (N, K) of a batch."""
        embedding = self.visual(images)
        embedding = embedding[0] if isinstance(embedding, tuple) else embedding
        return nn.functional.normalize(embedding, dim=-1).matmul(self.words.T)


def _open_clip(name: str) -> Callable[[int], nn.Module]:
    def build(size: int) -> nn.Module:
        import open_clip

        network = open_clip.create_model(name, pretrained=None, force_image_size=size).eval()
        with torch.no_grad():
            images = torch.zeros(1, 3, size, size)
            embedding = network.get_submodule("visual")(images)
            width = (embedding[0] if isinstance(embedding, tuple) else embedding).shape[-1]
        return ZeroShot(network, nn.functional.normalize(torch.randn(CLASSES, width), dim=-1))

    return build


BY_NAME = (
    *(Architecture("timm", name, _timm(name), 64, 96) for name in TIMM.split()),
    *(Architecture("timm", name, _timm(name), *sizes) for name, sizes in TIMM_LARGE.items()),
    *(
        Architecture("torchvision", name, _torchvision(name), *TORCHVISION_SIZES.get(name, (64, 96)))
        for name in TORCHVISION.split()
    ),
    Architecture("torchvision", "MaxVit", _maxvit, 64, 96),
    *(Architecture("torchvision", name, _segmentation(name), 64, 96) for name in SEGMENTATION),
    *(Architecture("torchvision", name, _detection(name), 128, 192) for name in DETECTION),
    Architecture("torchvision", "s3d", _torchvision("s3d"), 224, 320, "clip"),  # its last pooling takes 7 x 7 places
    *(
        Architecture("torchvision", name, (_mvit if "mvit" in name else _torchvision)(name), 64, 96, "video")
        for name in VIDEO
    ),
    *(
        Architecture("segmentation_models_pytorch", name, _smp(name), *((128, 192) if name == "PAN" else (64, 96)))
        for name in SMP
    ),
    *(Architecture("open_clip", name, _open_clip(name), *sizes) for name, sizes in OPEN_CLIP.items()),
)
