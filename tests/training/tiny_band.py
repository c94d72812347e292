"""Make a toyband folder of small clips, and a recipe that trains a tiny DGFNet on it."""

from pathlib import Path

from avsep.models import MODELS
from avsep.recipe import write_recipe
from avsep.toyband.build import make_toyband
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import PictureSettings, ToybandSettings
from avsep.toyband.material import Material
from avsep.training.recipe import COMMAND, OptimizerSettings, TrainingSettings, TrainRecipe
from tiny_models import TINY

SETTINGS = ToybandSettings(
    clip_seconds=2,
    num_performers=(2,),
    same_category_probability=0.0,
    pictures=PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4),
)


def make_band(folder: Path, num_clips: int, seed: int = 1) -> None:
    """Make duets of two seconds; of 6 clips the second to fourth are to validate with."""
    list(make_toyband(folder, num_clips, seed, SETTINGS, Material.read(), num_workers=1))


def write_tiny_recipe(path: Path) -> None:
    """Write a recipe of four steps."""
    tiny = MODELS["dgfnet"].Settings(**TINY["dgfnet"] | {"categories": CATEGORIES})
    training = TrainingSettings(
        batch_size=2, max_steps=4, num_workers=0, num_validation=2, validate_every_steps=4,
        validation_share=0.5, num_samples=0, log_every_steps=2, ema_decay=0.5,
    )  # fmt: skip
    groups = {name: OptimizerSettings(learning_rate=1e-3) for name in ("transformer", "rest")}
    settings = tiny.model_dump(mode="json", exclude_none=True)
    recipe = TrainRecipe(model="dgfnet", settings=settings, training=training, optimizers=groups)
    path.write_text(write_recipe(recipe, COMMAND), encoding="utf-8")
