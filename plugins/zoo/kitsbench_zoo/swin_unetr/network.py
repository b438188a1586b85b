"""MONAI's Swin UNETR, for tokens of one voxel as well."""

from __future__ import annotations

from monai.networks.blocks import UnetrUpBlock
from monai.networks.nets import SwinUNETR

from kitsbench_zoo.base import GROUP

HEADS = (3, 6, 12, 24)


def swin_unetr(
    classes: int,
    features: int,
    *,
    blocks: int,
    window: int,
    token: int,
    drop_path: float,
    norm: str,
    v2: bool,
) -> SwinUNETR:
    """Network of four stages.

    Parameters
    ----------
    classes, features, blocks, window : int
        Of the output; channels, a multiple of 12; blocks of a stage; edge of a window in tokens.
    token : {1, 2}
        Edge of a token, voxels. With 1 the first stage has the voxels themselves, so that the
        decoder's last step does not enlarge.
    drop_path : float
        Stochastic depth.
    norm : str
        Normalisation of the convolutions.
    v2 : bool
        A residual convolution before each stage.
    """
    given = GROUP if norm == "group" else norm
    network = SwinUNETR(
        in_channels=1,
        out_channels=classes,
        feature_size=features,
        depths=(blocks,) * len(HEADS),
        num_heads=HEADS,
        window_size=window,
        patch_size=token,
        dropout_path_rate=drop_path,
        norm_name=given,
        use_v2=v2,
    )
    if token == 1:
        network.decoder1 = UnetrUpBlock(
            spatial_dims=3,
            in_channels=features,
            out_channels=features,
            kernel_size=3,
            upsample_kernel_size=1,
            norm_name=given,
            res_block=True,
        )
    return network
