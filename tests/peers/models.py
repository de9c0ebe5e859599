"""Small models of public libraries with random weights, and how to run each: (name, build, run)."""

from __future__ import annotations

import importlib
import logging
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

MODELS: list[tuple[str, Callable, Callable]] = []


def prepare() -> None:
    """Without compiled operators: torchvision's nms and mmcv's are declared, so that the libraries can be imported."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    prepare.library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[attr-defined]
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            prepare.library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")  # type: ignore[attr-defined]

    class Absent(types.ModuleType):
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **kwargs: None

    sys.modules.setdefault("mmcv._ext", Absent("mmcv._ext"))


def tensors(output) -> list[Tensor]:
    """The tensors of an output, whatever a library wraps them in."""
    leaves = pytree.tree_leaves(output)
    if not any(isinstance(leaf, Tensor) for leaf in leaves) and hasattr(output, "__dict__"):
        leaves = list(vars(output).values())
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(2))


def add(name: str, build: Callable, *shape: int, keyword: str | None = None) -> None:
    def run(model):
        torch.manual_seed(4)
        return model(**{keyword: noise(*shape)}) if keyword else model(noise(*shape))

    MODELS.append((name, build, run))


def of(module: str, name: str, *args, **kwargs) -> Callable:
    return lambda: getattr(importlib.import_module(module), name)(*args, **kwargs)


# timm: name, side, options

VIT = {"embed_dim": 64, "depth": 2, "num_heads": 4}
for name, side, options in (
    ("vit_small_patch16_224", 80, VIT | {"img_size": 80}),
    ("vit_base_patch16_clip_224", 64, VIT | {"img_size": 64}),
    ("vit_small_patch14_reg4_dinov2", 70, VIT | {"img_size": 70}),
    ("vit_base_patch16_siglip_224", 64, VIT | {"img_size": 64}),
    ("vit_relpos_base_patch16_clsgap_224", 64, VIT | {"img_size": 64}),
    ("vit_srelpos_small_patch16_224", 64, VIT | {"img_size": 64}),
    ("vit_small_patch16_dinov3", 64, VIT | {"img_size": 64}),
    ("deit3_small_patch16_224", 64, VIT | {"img_size": 64}),
    ("deit_small_distilled_patch16_224", 64, VIT | {"img_size": 64}),
    ("beit_base_patch16_224", 64, VIT | {"img_size": 64}),
    ("beitv2_base_patch16_224", 64, VIT | {"img_size": 64}),
    ("eva02_small_patch14_224", 70, VIT | {"img_size": 70}),
    ("cait_xxs24_224", 64, VIT | {"img_size": 64}),
    ("xcit_tiny_12_p16_224", 64, VIT | {"img_size": 64}),
    ("naflexvit_base_patch16_gap", 64, VIT),
    ("samvit_base_patch16", 96, VIT | {"img_size": 96, "window_size": 4, "global_attn_indexes": (1,)}),
    ("convit_small", 64, {"img_size": 64, "embed_dim": 64, "depth": 3, "num_heads": 4, "local_up_to_layer": 2}),
    ("swin_small_patch4_window7_224", 56, {"img_size": 56, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)}),
    ("swinv2_cr_tiny_224", 64, {"img_size": 64, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)}),
    ("swinv2_small_window8_256", 64, {"img_size": 64, "embed_dim": 32, "depths": (2, 2), "num_heads": (2, 4)}),
    ("maxvit_nano_rw_256", 128, {"img_size": 128, "depths": (1, 1, 1, 1), "embed_dim": (32, 32, 64, 64)}),
    ("coatnet_nano_rw_224", 64, {"img_size": 64, "depths": (1, 1, 1, 1), "embed_dim": (32, 32, 64, 64)}),
    ("pvt_v2_b1", 64, {"depths": (1, 1, 1, 1)}),
    ("pvt_v2_b2_li", 64, {"depths": (1, 1, 1, 1)}),
    ("twins_pcpvt_small", 64, {"img_size": 64, "depths": (1, 1, 1, 1)}),
    ("twins_svt_small", 64, {"img_size": 64, "depths": (2, 2, 2, 2)}),
    ("mvitv2_small", 64, {"img_size": 64}),
    ("hiera_small_224", 64, {"img_size": (64, 64), "embed_dim": 32, "num_heads": 1, "stages": (1, 2, 2, 1)}),
    ("levit_192", 64, {"img_size": 64}),
    ("efficientvit_m1", 64, {}),
    ("efficientvit_b0", 64, {}),
    ("efficientformer_l1", 224, {}),
    ("efficientformerv2_s0", 224, {}),
    ("davit_tiny", 64, {"depths": (1, 1, 1, 1)}),
    ("volo_d1_224", 64, {"img_size": 64}),
    ("nextvit_small", 64, {}),
    ("nest_tiny", 64, {"img_size": 64}),
    ("tnt_s_patch16_224", 64, {"img_size": 64, "embed_dim": 48, "inner_dim": 16, "depth": 2, "num_heads_inner": 2,
                               "num_heads_outer": 4}),
    ("coat_tiny", 64, {"img_size": 64}),
    ("crossvit_9_240", 240, {}),
    ("gcvit_xxtiny", 128, {"img_size": 128}),
    ("visformer_small", 64, {"img_size": 64}),
    ("vitamin_small_224", 64, {"img_size": 64}),
    ("edgenext_x_small", 64, {}),
    ("mobilevit_xs", 64, {}),
    ("mobilevitv2_075", 64, {}),
    ("tiny_vit_11m_224", 224, {}),
    ("fastvit_sa12", 64, {}),
    ("botnet26t_256", 128, {"img_size": 128}),
    ("halonet26t", 128, {}),
    ("lambda_resnet26t", 128, {}),
    ("repvit_m1", 64, {}),
    ("sequencer2d_s", 64, {"img_size": 64}),
    ("mobilenetv4_hybrid_medium", 64, {}),
    ("resnet50_clip", 224, {}),
    ("pit_ti_224", 64, {"img_size": 64}),
):  # fmt: skip
    add(f"timm/{name}", of("timm", "create_model", name, pretrained=False, **options), 2, 3, side, side)

# transformers: model, configuration, side, options

BASE = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "image_size": 64,
        "patch_size": 16}  # fmt: skip
FOUR = {"depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 4, 8], "hidden_sizes": [16, 32, 64, 128]}


def transformer(model: str, settings: str, **options):
    return lambda: _of_settings(model, settings, options)


def _of_settings(model: str, settings: str, options: dict) -> nn.Module:
    library = importlib.import_module("transformers")
    return getattr(library, model)(getattr(library, settings)(**options))


for model, options, side in (
    ("ViT", BASE, 64), ("DeiT", BASE, 64), ("Dinov2", BASE, 64), ("Dinov2WithRegisters", BASE, 64),
    ("DINOv3ViT", BASE, 64), ("Beit", BASE | {"use_relative_position_bias": True}, 64),
    ("Data2VecVision", BASE | {"use_relative_position_bias": True}, 64), ("CLIPVision", BASE, 64),
    ("SiglipVision", BASE, 64), ("IJepa", BASE, 64), ("ViTMAE", BASE, 64), ("ViTMSN", BASE, 64), ("Yolos", BASE, 64),
    ("VitDet", BASE | {"window_size": 2, "window_block_indices": [0], "use_relative_position_embeddings": True}, 64),
    ("DPT", BASE, 64), ("BlipVision", BASE, 64), ("AltCLIPVision", BASE, 64), ("ChineseCLIPVision", BASE, 64),
    ("Segformer", FOUR, 64), ("Pvt", {"image_size": 64, "depths": [1, 1, 1, 1]}, 64),
    ("PvtV2", {"image_size": 64, "depths": [1, 1, 1, 1]}, 64), ("GLPN", {"depths": [1, 1, 1, 1]}, 64),
    ("Swin", {"image_size": 56, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4]}, 56),
    ("Swinv2", {"image_size": 64, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}, 64),
    ("Hiera", {"image_size": [64, 64], "embed_dim": 32, "depths": [1, 2, 2, 1]}, 64),
    ("Levit", {"image_size": 64, "depths": [1, 1, 1]}, 64), ("MobileViT", {"image_size": 64}, 64),
    ("MobileViTV2", {"image_size": 64}, 64), ("EfficientFormer", {}, 224), ("Cvt", {"depth": [1, 1, 2]}, 64),
    ("Dinat", {}, 64), ("PoolFormer", {}, 64), ("SwiftFormer", {}, 64), ("Focalnet", {}, 64), ("Donutswin", {}, 64),
    ("Maskformerswin", {"image_size": 56, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4]}, 56),
):  # fmt: skip
    add(f"transformers/{model}", transformer(f"{model}Model", f"{model}Config", **options), 2, 3, side, side,
        keyword="pixel_values")  # fmt: skip

# torchvision

VISION = "torchvision.models"
add("torchvision/vit", of(f"{VISION}.vision_transformer", "VisionTransformer", 64, 16, 2, 4, 64, 96), 2, 3, 64, 64)
for block in ("SwinTransformerBlock", "SwinTransformerBlockV2"):
    swin = f"{VISION}.swin_transformer"

    def build(block=block, swin=swin):
        part = importlib.import_module(swin)
        merging = part.PatchMergingV2 if block.endswith("V2") else part.PatchMerging
        return part.SwinTransformer([4, 4], 32, [2, 2], [2, 4], [5, 5], block=getattr(part, block),
                                    downsample_layer=merging)  # fmt: skip

    add(f"torchvision/{block}", build, 2, 3, 60, 76)
add("torchvision/maxvit", of(f"{VISION}.maxvit", "MaxVit", (64, 64), 16, 4, [16, 32], [1, 2], 8, 0.0), 2, 3, 64, 64)

# PyTorch itself

LAYER = partial(nn.TransformerEncoderLayer, 64, 4, 96, dropout=0.0, batch_first=True)
add("torch/encoder", lambda: nn.TransformerEncoder(LAYER(), 2), 2, 20, 64)
add("torch/encoder_norm_first", lambda: nn.TransformerEncoder(LAYER(norm_first=True), 2), 2, 20, 64)

# vit-pytorch

PLAIN = {"num_classes": 5, "dim": 64, "depth": 2, "heads": 4, "mlp_dim": 96, "image_size": 64, "patch_size": 16}
for module, name, options in (
    ("vit", "ViT", PLAIN), ("simple_vit", "SimpleViT", PLAIN), ("deepvit", "DeepViT", PLAIN),
    ("cait", "CaiT", PLAIN | {"cls_depth": 1}), ("t2t", "T2TViT", {k: PLAIN[k] for k in ("dim", "depth", "heads",
     "mlp_dim", "num_classes", "image_size")}), ("vit_for_small_dataset", "ViT", PLAIN), ("rvt", "RvT", PLAIN),
    ("parallel_vit", "ViT", PLAIN), ("learnable_memory_vit", "ViT", PLAIN), ("vit_with_patch_merger", "ViT", PLAIN),
    ("simple_vit_with_qk_norm", "SimpleViT", PLAIN), ("simple_vit_with_register_tokens", "SimpleViT", PLAIN),
    ("xcit", "XCiT", PLAIN | {"cls_depth": 1}), ("nest", "NesT", {"image_size": 64, "patch_size": 4, "dim": 32,
     "heads": 2, "num_hierarchies": 3, "block_repeats": (1, 1, 1), "num_classes": 5}),
    ("sep_vit", "SepViT", {"num_classes": 5, "dim": 32, "dim_head": 16, "heads": (1, 2), "depth": (1, 1),
     "window_size": 4}), ("crossformer", "CrossFormer", {"num_classes": 5, "dim": (16, 32, 32, 32), "depth": (1, 1, 1,
     1), "global_window_size": (4, 2, 2, 1), "local_window_size": 2}),
    ("regionvit", "RegionViT", {"dim": (16, 32, 32, 32), "depth": (1, 1, 1, 1), "window_size": 2, "num_classes": 5}),
    ("max_vit", "MaxViT", {"num_classes": 5, "dim": 32, "dim_head": 16, "depth": (1, 1), "window_size": 4}),
    ("cvt", "CvT", {"num_classes": 5, "s1_emb_dim": 16, "s2_emb_dim": 32, "s3_emb_dim": 48, "s3_depth": 1}),
    ("twins_svt", "TwinsSVT", {"num_classes": 5, "s1_local_patch_size": 4, "s2_local_patch_size": 4,
     "s3_local_patch_size": 2, "s4_local_patch_size": 2, "s1_global_k": 2, "s2_global_k": 2, "s3_global_k": 2,
     "s4_global_k": 2, "s4_patch_size": 1, "s3_depth": 1, "s4_depth": 1}),
    ("scalable_vit", "ScalableViT", {"num_classes": 5, "dim": 32, "heads": (2, 2), "depth": (1, 1), "ssa_dim_key": (8,
     8), "reduction_factor": (4, 2), "window_size": (8, None)}),
):  # fmt: skip
    add(f"vit-pytorch/{module}", of(f"vit_pytorch.{module}", name, **options), 2, 3, 64, 64)

# MONAI: planes and volumes

for sizes in ((64, 96), (32, 48, 64)):
    axes = len(sizes)
    options = {"hidden_size": 48, "mlp_dim": 64, "num_heads": 4, "feature_size": 8, "spatial_dims": axes}
    add(f"monai/unetr_{axes}d", of("monai.networks.nets", "UNETR", 1, 3, sizes, **options), 2, 1, *sizes)
    options = {"feature_size": 12, "depths": (2, 1, 1, 1), "window_size": 4, "spatial_dims": axes}
    twice = [2 * side for side in sizes]
    add(f"monai/swin_unetr_{axes}d", of("monai.networks.nets", "SwinUNETR", 1, 3, **options), 1, 1, *twice)
for words, options in (("plain", {}), ("flash", {"use_flash_attention": True}),
                       ("decomposed", {"rel_pos_embedding": "decomposed", "input_size": (4, 5)})):  # fmt: skip
    monai_block = of("monai.networks.blocks.selfattention", "SABlock", 32, 4, **options)
    add(f"monai/self_attention_{words}", lambda block=monai_block: nn.Sequential(block()), 2, 20, 32)

# segmentation_models.pytorch

for decoder, encoder, options in (
    ("Segformer", "mit_b0", {}), ("Unet", "mit_b0", {}), ("MAnet", "resnet18", {}),
    ("DPT", "tu-vit_tiny_patch16_224", {"encoder_depth": 4, "dynamic_img_size": True}),
):  # fmt: skip
    options = options | {"encoder_weights": None, "classes": 3}
    add(f"smp/{decoder}_{encoder}", of("segmentation_models_pytorch", decoder, encoder, **options), 2, 3, 128, 192)

# diffusers

DIFFUSERS = {"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 32, "norm_num_groups": 8}
add("diffusers/transformer_2d", of("diffusers", "Transformer2DModel", **DIFFUSERS), 2, 32, 8, 12)


def denoising_unet():
    """At the first step of its time."""
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    unet = importlib.import_module("diffusers").UNet2DModel
    model = unet(block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8, **blocks)
    model.forward = partial(model.forward, timestep=0)
    return model


add("diffusers/unet_2d", denoising_unet, 2, 3, 32, 48)

# open_clip

CLIP = {"image_size": 64, "patch_size": 16, "width": 64, "layers": 2, "heads": 4, "mlp_ratio": 2, "output_dim": 32}
for words, options in (("vit", {}), ("vit_pooled", {"attentional_pool": True}), ("vit_qk_norm", {"qk_norm": True})):
    add(f"open_clip/{words}", of("open_clip.transformer", "VisionTransformer", **CLIP, **options), 2, 3, 64, 64)

# mmcv and mmseg

for mode in ("gaussian", "embedded_gaussian", "dot_product", "concatenation"):
    for sub_sample in (False, True):
        words = f"mmcv/non_local_{mode}{'_pooled' if sub_sample else ''}"
        block = of("mmcv.cnn", "NonLocal2d", 16, mode=mode, sub_sample=sub_sample)
        add(words, lambda block=block: nn.Sequential(nn.Conv2d(16, 16, 1), block()), 2, 16, 6, 10)


class Head(nn.Module):
    """A decode head of mmseg on one map."""

    def __init__(self, name: str, **options):
        super().__init__()
        shared = {"in_channels": 16, "channels": 16, "num_classes": 4, "in_index": 0, "norm_cfg": {"type": "BN"}}
        heads = importlib.import_module("mmseg.models.decode_heads")
        self.head = getattr(heads, name)(**shared | options)

    def forward(self, features):
        return self.head([features])


for name, options in (("NLHead", {}), ("DNLHead", {}), ("GCHead", {}), ("CCHead", {}), ("DAHead", {"pam_channels": 8}),
                      ("ISAHead", {"isa_channels": 8, "down_factor": (2, 5)}), ("EncHead", {"num_codes": 8}),
                      ("EMAHead", {"ema_channels": 16, "num_bases": 8, "num_stages": 3})):  # fmt: skip
    if name not in ("CCHead", "EncHead"):  # compiled operators; no attention
        add(f"mmseg/{name}", partial(Head, name, **options), 2, 16, 6, 10)
