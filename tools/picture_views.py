"""Random views of pictures, a batch at a time, for training an image encoder."""

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


def augmented(pictures: Tensor, side: int) -> Tensor:
    """Random views of pictures: cut, squashed, turned, mirrored, recoloured, made coarse; bytes."""
    views = random_views(pictures.float(), side)
    num = len(views)
    brightness = torch.empty(num, 1, 1, 1).uniform_(0.6, 1.4)
    contrast = torch.empty(num, 1, 1, 1).uniform_(0.5, 1.5)
    saturation = torch.empty(num, 1, 1, 1).uniform_(0, 1.6)
    gains = torch.empty(num, 3, 1, 1).uniform_(0.85, 1.15)
    grey = views.mean(dim=1, keepdim=True)
    views = (grey + (views - grey) * saturation) * gains * brightness
    middle = views.mean(dim=(1, 2, 3), keepdim=True)
    views = middle + (views - middle) * contrast
    # Crops in use are often small in the video: a third of the batch loses its fine detail.
    coarse = int(torch.randint(32, side, ()))
    third = slice(0, num // 3)
    small = interpolate(views[third], size=(coarse, coarse), mode="bilinear", antialias=True)
    views[third] = interpolate(small, size=(side, side), mode="bilinear")
    views += torch.randn_like(views) * 6 * torch.rand(num, 1, 1, 1)
    return views.round().clamp(0, 255).byte()


def random_views(pictures: Tensor, side: int) -> Tensor:
    """Parts of pictures, or, one time in eight, pictures lying on a blurred other one."""
    num = len(pictures)
    area = torch.empty(num).uniform_(0.25, 1.0)
    on_another = torch.rand(num) < 1 / 8
    area = torch.where(on_another, torch.empty(num).uniform_(1.0, 4.0), area)
    squash = torch.empty(num).uniform_(-0.35, 0.35).exp()
    scale = area.sqrt()[:, None] * torch.stack([squash.sqrt(), squash.rsqrt()], dim=1)
    shift = (torch.rand(num, 2) * 2 - 1) * (1 - scale).abs()
    angle = torch.empty(num).uniform_(-0.25, 0.25)
    mirror = torch.randint(0, 2, (num,)) * 2.0 - 1
    matrix = torch.zeros(num, 2, 3)
    matrix[:, 0, 0] = scale[:, 0] * angle.cos() * mirror
    matrix[:, 0, 1] = -scale[:, 0] * angle.sin()
    matrix[:, 1, 0] = scale[:, 1] * angle.sin() * mirror
    matrix[:, 1, 1] = scale[:, 1] * angle.cos()
    matrix[:, :, 2] = shift
    grid = affine_grid(matrix, [num, 3, side, side], align_corners=False)
    views = grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)
    outside = (grid.abs().amax(dim=-1) > 1) & on_another[:, None, None]
    blurred = interpolate(interpolate(pictures.roll(1, 0), size=(6, 6), mode="area"),
                          size=(side, side), mode="bilinear")  # fmt: skip
    return torch.where(outside[:, None], blurred, views)


def mixed(views: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Every picture with another: laid over it (mixup), a piece of it pasted (cutmix), or none."""
    choice = float(torch.rand(()))
    if choice < 0.5:
        return views, targets
    other, other_targets = views.roll(1, 0), targets.roll(1, 0)
    if choice < 0.75:
        share = float(torch.distributions.Beta(0.4, 0.4).sample())
        blended = views.float() * share + other.float() * (1 - share)
        return blended.round().byte(), targets * share + other_targets * (1 - share)
    side = views.shape[-1]
    height, width = (int(n) for n in torch.randint(side // 5, side * 3 // 4, (2,)))
    top, left = int(torch.randint(0, side - height, ())), int(torch.randint(0, side - width, ()))
    views = views.clone()
    views[..., top : top + height, left : left + width] = other[
        ..., top : top + height, left : left + width
    ]
    share = 1 - height * width / side**2
    return views, targets * share + other_targets * (1 - share)
