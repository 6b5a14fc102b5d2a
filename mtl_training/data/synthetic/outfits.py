"""Clothes, skin and hair."""

from dataclasses import dataclass

from mtl_training.data.synthetic.shapes import Colour
import numpy as np

CLOTH_COLOURS: dict[str, Colour] = {
    'red': (190, 40, 40),
    'orange': (225, 125, 40),
    'yellow': (225, 200, 70),
    'green': (60, 140, 70),
    'teal': (40, 140, 145),
    'blue': (50, 85, 180),
    'purple': (120, 60, 150),
    'pink': (225, 130, 165),
    'white': (225, 225, 220),
    'grey': (125, 125, 130),
    'black': (40, 40, 45),
    'brown': (115, 80, 55),
}
_TROUSER_NAMES = ('blue', 'blue', 'black', 'grey', 'brown', 'white', 'green', 'red')
_SKINS: tuple[Colour, ...] = (
    (240, 205, 180),
    (225, 180, 150),
    (200, 150, 115),
    (165, 115, 80),
    (120, 80, 55),
    (85, 55, 40),
)
_HAIRS: tuple[Colour, ...] = (
    (30, 25, 22),
    (60, 42, 30),
    (105, 70, 40),
    (190, 150, 90),
    (150, 70, 35),
    (170, 170, 170),
)
PATTERNS = ('plain', 'stripes', 'pinstripes', 'dots', 'block')


@dataclass(frozen=True)
class Outfit:
    """What one person looks like."""

    shirt_name: str
    shirt: Colour
    shirt_detail: Colour
    pattern: str
    sleeves: str  # long, short or none
    lower: str  # trousers, shorts or skirt
    lower_colour: Colour
    shoes: Colour
    skin: Colour
    hair: Colour
    hair_style: str  # short, long or bald

    @staticmethod
    def sample(rng: np.random.Generator) -> 'Outfit':
        """Draw one."""

        def varied(colour: Colour, spread: float = 14.0) -> Colour:
            values = np.clip(np.array(colour) * rng.uniform(0.85, 1.12) + rng.normal(0, spread, 3),
                             8, 250)  # fmt: skip
            return float(values[0]), float(values[1]), float(values[2])

        shirt_name, detail_name = rng.choice(list(CLOTH_COLOURS), 2, replace=False)
        lower_name = rng.choice(_TROUSER_NAMES)
        hair_style = str(rng.choice(['short', 'long', 'bald'], p=[0.55, 0.37, 0.08]))
        return Outfit(
            shirt_name=str(shirt_name),
            shirt=varied(CLOTH_COLOURS[str(shirt_name)]),
            shirt_detail=varied(CLOTH_COLOURS[str(detail_name)]),
            pattern=str(rng.choice(PATTERNS, p=[0.44, 0.2, 0.12, 0.1, 0.14])),
            sleeves=str(rng.choice(['long', 'short', 'none'], p=[0.5, 0.42, 0.08])),
            lower=str(rng.choice(['trousers', 'shorts', 'skirt'], p=[0.68, 0.17, 0.15])),
            lower_colour=varied(CLOTH_COLOURS[str(lower_name)]),
            shoes=varied(CLOTH_COLOURS[str(rng.choice(['black', 'white', 'brown', 'red']))]),
            skin=varied(_SKINS[rng.integers(len(_SKINS))], 5.0),
            hair=varied(_HAIRS[rng.integers(len(_HAIRS))], 6.0),
            hair_style=hair_style,
        )
