"""A clothed figure around projected joints."""

from dataclasses import dataclass

from mtl_training.data.synthetic.outfits import Outfit
from mtl_training.data.synthetic.poses import Array
from mtl_training.data.synthetic.shapes import (
    capsules,
    Colour,
    discs,
    ellipses,
    hulls,
    Layer,
    Part,
    shade,
)
from mtl_training.data.synthetic.skeleton import Body, JOINT
import numpy as np

# From joint, to joint, thickness at both ends (of the body's height), what it wears, and how much
# nearer than its depth it is drawn (metres): arms before the torso they touch, hands before all.
_LIMBS: tuple[tuple[str, str, float, float, str, float], ...] = tuple(
    (f'{side}_{start}', f'{side}_{end}', thick, thin, cloth, nearer)
    for side in ('left', 'right')
    for start, end, thick, thin, cloth, nearer in (
        ('hip', 'knee', 0.051, 0.039, 'thigh', 0.0),
        ('knee', 'ankle', 0.037, 0.025, 'shin', 0.01),
        ('heel', 'toe', 0.024, 0.018, 'shoe', 0.02),
        ('shoulder', 'elbow', 0.032, 0.027, 'sleeve', 0.06),
        ('elbow', 'wrist', 0.026, 0.019, 'cuff', 0.09),
        ('wrist', 'hand', 0.024, 0.029, 'skin', 0.1),
    )
)
_STARTS = [JOINT[limb[0]] for limb in _LIMBS]
_ENDS = [JOINT[limb[1]] for limb in _LIMBS]
_RADII = np.array([[limb[2], limb[3]] for limb in _LIMBS])
_TORSO = [JOINT[name] for name in ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip')]


@dataclass(frozen=True)
class Projection:
    """The joints of one person in the image."""

    pixels: Array  # [T, J, 2]
    depth: Array  # [T, J], metres
    scale: Array  # pixels per metre at each joint, [T, J]


@dataclass(frozen=True)
class Figure:
    """What is drawn for one person, and the bars that hide what is behind them."""

    parts: list[Part]
    bar_starts: Array  # [T, N, 2]
    bar_ends: Array
    bar_radii: Array  # [T, N]
    bar_depths: Array  # [T, N, 2], at start and end


def make_figure(body: Body, outfit: Outfit, seen: Projection, corners: int) -> Figure:
    """
    Dress one person.

    :param corners: Vertices per round end: more for larger images.
    """
    parts = _limb_parts(body, outfit, seen, corners)
    parts += _torso_parts(body, outfit, seen, corners)
    parts += _head_parts(body, outfit, seen, corners)
    return Figure(parts, *_bars(body, seen))


def _limb_colours(outfit: Outfit) -> dict[str, Colour]:
    skin, cloth, shirt = outfit.skin, outfit.lower_colour, outfit.shirt
    return {
        'thigh': skin if outfit.lower == 'skirt' else cloth,
        'shin': cloth if outfit.lower == 'trousers' else skin,
        'shoe': outfit.shoes,
        'sleeve': skin if outfit.sleeves == 'none' else shirt,
        'cuff': shirt if outfit.sleeves == 'long' else skin,
        'skin': skin,
    }


def _limb_parts(body: Body, outfit: Outfit, seen: Projection, corners: int) -> list[Part]:
    start, end = seen.pixels[:, _STARTS], seen.pixels[:, _ENDS]
    size = body.height * np.sqrt(body.girth)
    radius = seen.scale[:, _STARTS] * _RADII[:, 0] * size
    end_radius = seen.scale[:, _ENDS] * _RADII[:, 1] * size
    outer = capsules(start, end, radius, end_radius, corners)
    # A lighter core, shifted towards the light above, makes the bars round.
    lift = np.array([-0.12, -0.22])
    inner = capsules(
        start + lift * radius[..., None],
        end + lift * end_radius[..., None],
        0.6 * radius,
        0.6 * end_radius,
        max(corners - 2, 3),
    )
    depth = (seen.depth[:, _STARTS] + seen.depth[:, _ENDS]) / 2
    colours = _limb_colours(outfit)
    return [
        Part(
            depth[:, n] - nearer,
            [
                Layer(outer[:, n], shade(colours[cloth], 0.8)),
                Layer(inner[:, n], shade(colours[cloth], 1.06)),
            ],
        )
        for n, (_, _, _, _, cloth, nearer) in enumerate(_LIMBS)
    ]


def _torso_parts(body: Body, outfit: Outfit, seen: Projection, corners: int) -> list[Part]:
    size = body.height * body.girth
    scale = seen.scale[:, _TORSO]
    radius = scale * np.array([0.046, 0.046, 0.062, 0.062]) * size
    points = seen.pixels[:, _TORSO]
    rings = discs(points, radius, 2 * corners)
    middle = points.mean(1, keepdims=True)
    core = discs(
        (points - middle) * 0.8 + middle - 0.15 * radius[..., None], 0.66 * radius, corners
    )
    depth = seen.depth[:, _TORSO].mean(1)
    flat = (len(points), -1, 2)
    shirt = [
        Layer(hulls(rings.reshape(flat)), shade(outfit.shirt, 0.86)),
        Layer(hulls(core.reshape(flat)), shade(outfit.shirt, 1.04)),
        *_pattern(outfit, points, radius, corners),
    ]
    hips = capsules(points[:, 2], points[:, 3], radius[:, 2], radius[:, 3], corners)
    parts = [
        Part(depth + 0.03, [Layer(hips, shade(outfit.lower_colour, 0.88))]),
        Part(depth, shirt),
    ]
    if outfit.lower == 'skirt':
        parts.append(_skirt(body, outfit, seen, corners))
    return parts


def _skirt(body: Body, outfit: Outfit, seen: Projection, corners: int) -> Part:
    hips = [JOINT['left_hip'], JOINT['right_hip']]
    knees = [JOINT['left_knee'], JOINT['right_knee']]
    hem = 0.15 * seen.pixels[:, hips] + 0.85 * seen.pixels[:, knees]
    points = np.concatenate([seen.pixels[:, hips], hem], axis=1)
    scale = np.concatenate([seen.scale[:, hips], seen.scale[:, knees]], axis=1)
    radius = scale * np.array([0.06, 0.06, 0.066, 0.066]) * body.height * body.girth
    rings = discs(points, radius, corners + 4).reshape(len(points), -1, 2)
    depth = (seen.depth[:, hips].mean(1) + seen.depth[:, knees].mean(1)) / 2
    return Part(depth - 0.09, [Layer(hulls(rings), outfit.lower_colour)])


def _pattern(outfit: Outfit, points: Array, radius: Array, corners: int) -> list[Layer]:
    """Return stripes, dots or a block of colour across the chest; ``points`` as in ``_TORSO``."""
    top, bottom = points[:, :2].mean(1), points[:, 2:].mean(1)
    down = bottom - top
    length = np.maximum(np.linalg.norm(down, axis=-1, keepdims=True), 1e-6)
    across = np.stack([-down[:, 1], down[:, 0]], axis=-1) / length
    half = [
        np.abs(((points[:, i] - points[:, i + 1]) * across).sum(-1, keepdims=True)) / 2
        + 0.75 * radius[:, i : i + 1]
        for i in (0, 2)
    ]

    def at(along: float, side: float) -> Array:
        width = half[0] * (1 - along) + half[1] * along
        return top + along * down + side * width * across

    def band(low: float, high: float, left: float, right: float) -> Layer:
        corners_of_band = [at(low, left), at(low, right), at(high, right), at(high, left)]
        return Layer(np.stack(corners_of_band, axis=1), outfit.shirt_detail)

    if outfit.pattern == 'stripes':
        return [band(low, low + 0.11, -0.97, 0.97) for low in (0.02, 0.25, 0.48, 0.71, 0.94)]
    if outfit.pattern == 'pinstripes':
        return [band(-0.05, 1.05, left, left + 0.16) for left in (-0.8, -0.4, 0.0, 0.4)]
    if outfit.pattern == 'block':
        return [band(0.45, 1.08, -0.98, 0.98)]
    if outfit.pattern == 'dots':
        places = [(low, side) for low in (0.1, 0.4, 0.7) for side in (-0.55, 0.0, 0.55)]
        size = 0.28 * radius[:, 0]
        return [Layer(discs(at(*place), size, corners), outfit.shirt_detail) for place in places]
    return []


def _head_parts(body: Body, outfit: Outfit, seen: Projection, corners: int) -> list[Part]:
    head, neck, nose = JOINT['head'], JOINT['neck'], JOINT['nose']
    centre, depth = seen.pixels[:, head], seen.depth[:, head]
    radius = seen.scale[:, head] * body.head
    size = radius[:, None]
    up = centre - seen.pixels[:, neck]
    up = up / np.maximum(np.linalg.norm(up, axis=-1, keepdims=True), 1e-6)
    facing = (seen.pixels[:, nose] - centre) / np.maximum(size, 1e-6)  # within the image
    towards = (depth - seen.depth[:, nose]) / body.head  # towards the camera
    round_corners = 2 * corners + 2
    hair = outfit.skin if outfit.hair_style == 'bald' else outfit.hair
    oval = np.array([[1.18, 1.0]]) * size
    scalp = ellipses(centre + 0.08 * size * up - 0.1 * size * facing, up, oval, round_corners)
    visage = np.clip(0.52 + 0.42 * towards, 0.0, 0.88)[:, None]
    face = ellipses(
        centre + 0.2 * size * facing - 0.18 * size * up,
        up,
        np.concatenate([np.full_like(visage, 0.95), visage], axis=1) * size,
        round_corners,
    )
    layers = [
        Layer(scalp, hair),
        Layer(face, outfit.skin, towards > -0.6),
    ]
    for side in ('left', 'right'):
        eye = seen.pixels[:, JOINT[f'{side}_eye']]
        visible = (depth - seen.depth[:, JOINT[f'{side}_eye']] > 0.3 * body.head) & (towards > 0)
        layers.append(Layer(discs(eye, 0.11 * radius, corners), (30.0, 25.0, 25.0), visible))
    throat = capsules(seen.pixels[:, neck], centre, 0.55 * radius, 0.5 * radius, corners)
    parts = [Part(depth + 0.02, [Layer(throat, shade(outfit.skin, 0.85))]), Part(depth, layers)]
    if outfit.hair_style == 'long':
        fall = capsules(
            centre + (0.1 * up - 0.25 * facing) * size,
            centre - (1.5 * up + 0.55 * facing) * size,
            1.02 * radius,
            0.75 * radius,
            corners,
        )
        behind = np.where(towards > -0.1, 0.04, -0.13)
        parts.append(Part(depth + behind, [Layer(fall, shade(outfit.hair, 0.9))]))
    return parts


def _bars(body: Body, seen: Projection) -> tuple[Array, Array, Array, Array]:
    """Return limbs, torso and head as round-ended bars, for finding what they hide."""
    names = JOINT
    starts = [*_STARTS, names['left_shoulder'], names['right_shoulder'], names['neck']]
    ends = [*_ENDS, names['left_hip'], names['right_hip'], names['pelvis']]
    starts, ends = [*starts, names['head']], [*ends, names['head']]
    limbs = _RADII.mean(1) * np.sqrt(body.girth)
    thickness = np.concatenate([limbs, np.full(3, 0.055) * body.girth]) * body.height
    thickness = np.append(thickness, body.head)
    scale = (seen.scale[:, starts] + seen.scale[:, ends]) / 2
    depths = np.stack([seen.depth[:, starts], seen.depth[:, ends]], axis=-1)
    return seen.pixels[:, starts], seen.pixels[:, ends], scale * thickness, depths
