"""A transformer with its own recipe: groups of parameters, warm-up, an average of the weights."""

import torch
from kitsbench.architecture import WIDTH, Architecture, Key, Plain, SizeRule, softmax_spec
from kitsbench.recipe import Group, Inference, Intensity, Optimiser, Recipe, Schedule, Transform
from torch import nn

TOKEN = 8  # voxels along an edge

RECIPE = Recipe(
    name="transformer",
    spacing=(2.0, 2.0, 2.0),
    patch=(96, 96, 96),
    batch=2,
    intensity=Intensity(clip=(-175.0, 250.0), scale="range"),
    augmentation=(Transform("mirror", 0.5), Transform("shift", 0.5)),
    optimiser=Optimiser(
        "adamw",
        lr=1e-4,
        weight_decay=0.05,
        groups=(
            # No decay where it would pull what scales or places tokens towards zero.
            Group(names=("*.bias", "*.positions"), layers=("*Norm*",), weight_decay=0.0),
            Group(names=("*.tokens.*",), lr_factor=0.5),
        ),
    ),
    schedule=Schedule("cosine", warmup=0.05),
    inference=Inference(overlap=0.5),
    clip_gradient=1.0,
    average=0.999,
    sources=(("all", "CHOICE: what papers on such networks have in common"),),
)


class Transformer(nn.Module):
    """Blocks of voxels become tokens; each token gives the logits of its block."""

    def __init__(self, shape, width, depth, classes):
        super().__init__()
        grid = [edge // TOKEN for edge in shape]
        self.tokens = nn.Conv3d(1, width, TOKEN, stride=TOKEN)
        self.positions = nn.Parameter(0.02 * torch.randn(1, width, *grid))
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.up = nn.ConvTranspose3d(width, width // 2, TOKEN, stride=TOKEN)
        self.skip = nn.Conv3d(1, width // 2, 3, padding=1)
        self.head = nn.Conv3d(width // 2, classes, 3, padding=1)

    def forward(self, image):
        tokens = self.tokens(image) + self.positions
        found = self.encoder(tokens.flatten(2).transpose(1, 2)).transpose(1, 2)
        fine = self.up(found.unflatten(2, tokens.shape[2:])) + self.skip(image)
        return self.head(fine.relu())


class OwnRecipe(Architecture):
    """``--recipe paper`` trains by the recipe, ``--recipe matched`` by the one that all share."""

    title = "Transformer, own recipe"
    paper = "Dosovitskiy et al. 2021, arXiv:2010.11929"
    keys = {"width": WIDTH, "depth": Key(8, low=1, high=24, help="layers of attention")}
    sizes = {"tiny": {"width": 0.125, "depth": 2}, "small": {"width": 0.5, "depth": 4}}
    paper_patch = (96, 96, 96)

    def spec(self, config, task):
        rule = SizeRule(multiple=(TOKEN, TOKEN, TOKEN), minimum=(TOKEN, TOKEN, TOKEN))
        return softmax_spec(config, task, rule, self.paper_patch, paper=RECIPE)

    def build(self, spec):
        width = 8 * max(1, round(32 * spec["width"]))
        return Plain(Transformer(spec.grids[0].shape, width, spec["depth"], spec.classes))
