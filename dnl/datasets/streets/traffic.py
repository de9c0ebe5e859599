"""Who is in a street, cars, walkers and cyclists, each painted by one function of (canvas, rng, where, …).

Positions and sizes are metres in the world of `painting`.
"""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from dnl.datasets.streets.painting import BICYCLIST, CAR, PEDESTRIAN, Canvas, Colour, pick

CAR_PAINTS = [
    (176, 180, 186),
    (34, 36, 42),
    (226, 228, 230),
    (128, 22, 26),
    (28, 52, 104),
    (96, 100, 106),
    (46, 84, 70),
]
CAR_PAINTS += [(60, 110, 160), (190, 168, 120), (200, 60, 40)]
CLOTHES = [(38, 42, 54), (96, 34, 38), (52, 70, 104), (150, 140, 122), (28, 28, 30), (196, 188, 176), (74, 92, 66)]
CLOTHES += [(190, 70, 50), (120, 100, 140), (210, 160, 60)]
RIDER_JACKETS = [(214, 224, 40), (240, 116, 28), (40, 150, 200), (220, 50, 70)]
SKINS = [(222, 176, 146), (180, 128, 96), (112, 76, 56), (234, 194, 168)]
BAGS = [(28, 60, 110), (126, 26, 32), (24, 78, 56), (40, 40, 46), (196, 120, 36), (92, 40, 96), (30, 120, 132)]


# --- vehicles --------------------------------------------------------------------------------------------------------

# Side profiles seen from the tail: (metres ahead of the tail, metres above the road), up over the roof to the nose.
_HATCHBACK = [(0.0, 0.28), (0.0, 0.62), (0.06, 0.92), (0.5, 1.42), (2.2, 1.46), (3.0, 0.98), (3.95, 0.78), (4.0, 0.28)]
_SALOON = [
    (0, 0.28),
    (0, 0.62),
    (0.05, 0.95),
    (0.7, 0.98),
    (1.35, 1.38),
    (2.5, 1.4),
    (3.3, 0.95),
    (4.4, 0.75),
    (4.45, 0.28),
]
_ESTATE = [(0.0, 0.3), (0.0, 0.7), (0.08, 1.0), (0.35, 1.62), (2.7, 1.66), (3.4, 1.1), (4.3, 0.95), (4.4, 0.3)]
_VAN = [(0.0, 0.35), (0.0, 0.8), (0.03, 1.25), (0.08, 2.2), (3.6, 2.2), (4.35, 1.3), (4.9, 1.05), (4.95, 0.35)]
_PROFILES = [(_HATCHBACK, 1.72), (_HATCHBACK, 1.72), (_SALOON, 1.8), (_ESTATE, 1.85), (_VAN, 2.0)]


def car(canvas: Canvas, rng: np.random.Generator, x: float, z: float, heading: float) -> None:
    """A car with its middle at (x, z); heading 0 drives away from the camera, π comes towards it (radians)."""
    outline, width = _PROFILES[rng.integers(len(_PROFILES))]
    profile = np.array(outline)
    length, roof, waist = profile[:, 0].max(), profile[:, 1].max(), profile[2, 1]
    paint = pick(rng, CAR_PAINTS)
    cos, sin = np.cos(heading), np.sin(heading)
    oncoming = cos < 0

    def place(across, up, ahead):
        """Car coordinates -> world N×3; the cabin leans inwards above the waist."""
        across, up, ahead = np.asarray(across, float), np.asarray(up, float), np.asarray(ahead, float)
        lean = 1 - 0.22 * np.clip((up - waist) / (roof - waist + 1e-6), 0, 1)
        local_x, local_z = across * lean * width / 2, ahead - length / 2
        points = np.empty((*np.broadcast(local_x, local_z).shape, 3))
        points[..., 0] = x + cos * local_x + sin * local_z
        points[..., 1] = up
        points[..., 2] = z - sin * local_x + cos * local_z
        return points

    def tone(colour, across=0.0, ahead=0.0, up=0.0):
        """Light on a surface whose outward normal in car coordinates is (across, up, ahead)."""
        upright = canvas.light.on(cos * across + sin * ahead, -sin * across + cos * ahead)
        factor = tuple(u * (1 - up) + g * 1.12 * up for u, g in zip(upright, canvas.light.on_ground, strict=True))
        return canvas.tone(colour, z, factor)

    def shows_outside(pixels):
        """Whether an outline that runs clockwise when seen from outside does so in the picture."""
        column, row = pixels.T
        return column[:-1] @ row[1:] - column[1:] @ row[:-1] + column[-1] * row[0] - column[0] * row[-1] > 0

    sky_glass = tuple(0.45 * g + 0.3 * s for g, s in zip((38, 46, 54), canvas.light.sky_low, strict=True))
    under = place([-0.96, 0.96, 0.96, -0.96], 0.1, [0.1, 0.1, length - 0.1, length - 0.1])
    upper = place([-0.96, 0.96, 0.96, -0.96], 0.5, [0.1, 0.1, length - 0.1, length - 0.1])
    for edge in range(4):  # the dark space between the wheels, down to the shadow
        pair = [edge, (edge + 1) % 4]
        canvas.face(np.concatenate([under[pair], upper[pair[::-1]]]), canvas.tone((16, 16, 18), z, (1, 1, 1)), CAR)
    for across in (-1, 1):
        for ahead in (0.17 * length, 0.81 * length):
            for end in (-0.3, 0.3):
                tyre = place(across * np.array([0.98, 0.66, 0.66, 0.98]), [0, 0, 0.5, 0.5], ahead + end)
                canvas.face(tyre, canvas.tone((20, 20, 22), z, (1, 1, 1)), CAR)

    strips = list(pairwise(profile))
    order = strips if oncoming else strips[::-1]
    for (ahead0, up0), (ahead1, up1) in order:
        strip = canvas.camera.project(place([-1, -1, 1, 1], [up0, up1, up1, up0], [ahead0, ahead1, ahead1, ahead0]))
        if not shows_outside(strip):
            continue
        run = np.hypot(ahead1 - ahead0, up1 - up0)
        normal_ahead, normal_up = (up0 - up1) / run, max(0.0, (ahead1 - ahead0) / run)
        canvas.polygon(strip, tone(paint, 0, np.sign(normal_ahead), normal_up), CAR)
        if min(up0, up1) >= waist - 0.03 and abs(up0 - up1) > 0.3:  # rear window or windscreen
            rim = np.array([0.12, 0.9])
            ups, aheads = up0 + (up1 - up0) * rim, ahead0 + (ahead1 - ahead0) * rim
            glass = place([-0.86, 0.86, 0.86, -0.86], ups[[0, 0, 1, 1]], aheads[[0, 0, 1, 1]])
            canvas.face(glass, canvas.tone(sky_glass, z, (1, 1, 1)))
    for across in (-1, 1):
        flank = canvas.camera.project(place(across, profile[:, 1], profile[:, 0]))
        if not shows_outside(flank[::across]):
            continue
        canvas.polygon(flank, tone(paint, across, 0, 0.12), CAR)
        inner = profile[(profile[:, 1] >= waist - 0.02)]
        middle = inner.mean(axis=0)
        window = middle + (inner - middle) * (0.86, 0.72) + (0, 0.03)
        canvas.face(place(across, window[:, 1], window[:, 0]), canvas.tone(sky_glass, z, (0.8, 0.8, 0.8)))
        pillar = middle[0] + np.array([-0.05, 0.05, 0.05, -0.05])
        canvas.face(place(across, [waist, waist, roof, roof], pillar), tone(paint, across, 0, 0.12))
        canvas.face(
            place(across, [0.3, 0.3, 0.4, 0.4], [0.3, length - 0.3, length - 0.3, 0.3]), tone((40, 40, 44), across)
        )
        turn = np.linspace(0, 2 * np.pi, 18)
        for ahead in (0.19 * length, 0.81 * length):
            for radius, colour, label in [
                (0.36, (16, 16, 18), CAR),
                (0.31, (24, 24, 26), CAR),
                (0.2, (150, 154, 158), None),
            ]:
                wheel = place(across, 0.33 + radius * np.sin(turn), ahead + radius * np.cos(turn))
                canvas.face(wheel, canvas.tone(colour, z, (0.8, 0.8, 0.8)), label)
    _car_lights(canvas, place, tone, z, length, waist, oncoming)


def _car_lights(
    canvas: Canvas, place: Callable, tone: Callable, z: float, length: float, waist: float, oncoming: bool
) -> None:
    """Lamps, number plate and bumper on the end that is turned to the camera."""
    ahead, facing = (length + 0.005, 1) if oncoming else (-0.005, -1)
    level = 0.62 if oncoming else min(0.8, waist - 0.14)

    def panel(left, right, low, high, colour):
        canvas.face(place([left, right, right, left], [low, low, high, high], ahead), colour)

    panel(-0.97, 0.97, 0.3, 0.42, tone((46, 46, 50), 0, facing))
    dark = canvas.light.lit_windows > 0.1
    if oncoming:
        panel(-0.5, 0.5, 0.5, 0.64, tone((30, 30, 34), 0, facing))
    lamp = ((255, 250, 226) if dark else (224, 228, 226)) if oncoming else ((255, 40, 30) if dark else (186, 24, 28))
    lamp = canvas.tone(lamp, z, (1, 1, 1))
    panel(-0.95, -0.62, level - 0.1, level + 0.1, lamp)
    panel(0.62, 0.95, level - 0.1, level + 0.1, lamp)
    panel(-0.28, 0.28, 0.44, 0.56, tone((236, 236, 228) if oncoming else (236, 206, 60), 0, facing))


# --- people ----------------------------------------------------------------------------------------------------------


class _Body:
    """Joints of one figure: metres right of and above the point (x, z) on the ground, drawn upright."""

    def __init__(self, canvas: Canvas, x: float, z: float, label: int):
        self.canvas, self.z, self.label = canvas, z, label
        self.foot, self.scale = canvas.camera.project((x, 0, z)), canvas.camera.pixels_per_metre(z)
        self.light = tuple(0.25 + 0.75 * f for f in canvas.light.on(0, -1))

    def at(self, joints) -> np.ndarray:
        return self.foot + np.array(joints, float) * (self.scale, -self.scale)

    def tone(self, colour):
        return self.canvas.tone(colour, self.z, self.light)

    def limb(self, joints, width: float, colour) -> None:
        self.canvas.limb(self.at(joints), width * self.scale, self.tone(colour), self.label)

    def shape(self, joints, colour) -> None:
        self.canvas.polygon(self.at(joints), self.tone(colour), self.label)

    def ball(self, joint, radii, colour) -> None:
        radii = (radii[0] * self.scale, radii[1] * self.scale)
        self.canvas.ellipse(self.at(joint), radii, self.tone(colour), self.label)

    def head(self, rng: np.random.Generator, joint, toward_camera: bool, hat: Colour | None = None) -> None:
        across, up = joint
        hair = hat or pick(rng, [(40, 30, 26), (88, 62, 40), (24, 22, 22), (150, 120, 76), (150, 146, 142)], 4)
        skin = pick(rng, SKINS, 5)
        self.limb([(across, up - 0.22), (across, up - 0.1)], 0.11, skin)
        self.ball((across, up), (0.115, 0.145), hair)
        if toward_camera:
            self.ball((across, up - 0.035), (0.09, 0.105), skin)


def pedestrian(canvas: Canvas, rng: np.random.Generator, x: float, z: float) -> None:
    """Somebody walking or standing, 1.55 … 1.9 m tall, towards the camera or away from it."""
    body = _Body(canvas, x, z, PEDESTRIAN)
    tall = rng.uniform(1.55, 1.9)
    hip, shoulder, step = 0.5 * tall, 0.82 * tall, rng.uniform(0.04, 0.26) * rng.choice([-1, 1])
    top, trousers = pick(rng, CLOTHES), pick(rng, CLOTHES[:5])
    dark_top = tuple(0.78 * c for c in top)
    stoop = 0.05 * np.sign(step)
    for side, swing in ((-1, -step), (1, step)):
        knee, foot = (side * 0.09 + 0.6 * swing, 0.27 * tall), (side * 0.1 + swing, 0.05)
        self_tone = tuple((0.8 if side < 0 else 1.0) * c for c in trousers)
        body.limb([(side * 0.08, hip), knee, foot], 0.15, self_tone)
        body.limb([foot, (foot[0] + 0.1 * np.sign(step), 0.05)], 0.1, (30, 28, 28))
    hand = (-0.26 + step, 0.48 * tall)
    body.limb([(-0.2 + stoop, shoulder - 0.05), (-0.27, 0.64 * tall), hand], 0.11, dark_top)
    hem = hip - (rng.uniform(0.15, 0.4) if rng.random() < 0.4 else 0.06)
    half_hem = 0.21 + 0.05 * (hip - hem)
    waist = [(-half_hem, hem), (half_hem, hem)]
    body.shape(
        [
            *waist,
            (0.24 + stoop, shoulder),
            (0.12 + stoop, 0.86 * tall),
            (-0.12 + stoop, 0.86 * tall),
            (-0.24 + stoop, shoulder),
        ],
        top,
    )
    body.limb([(0.2 + stoop, shoulder - 0.05), (0.28, 0.64 * tall), (0.26 - step, 0.48 * tall)], 0.11, dark_top)
    if rng.random() < 0.4:
        across, low = 0.3 - step, 0.25 * tall
        bag = [(across - 0.13, low), (across + 0.13, low), (across + 0.1, low + 0.32), (across - 0.1, low + 0.32)]
        body.shape(bag, pick(rng, BAGS))
    body.head(rng, (stoop, 0.93 * tall), rng.random() < 0.6)


def _wheel(body: _Body, centre, radii) -> None:
    """A bicycle wheel: tyre, and a grey haze of spokes that counts as wheel."""
    centre, radii = body.at(centre), np.array(radii) * body.scale
    body.canvas.ellipse(centre, radii, body.tone((22, 22, 24)), body.label)
    if min(radii) > 2:
        body.canvas.ellipse(centre, radii - max(1.0, 0.05 * body.scale), body.tone((138, 140, 142)))
        body.canvas.ellipse(centre, radii * 0.12, body.tone((30, 30, 32)))


def cyclist(canvas: Canvas, rng: np.random.Generator, x: float, z: float, sideways: bool, toward_camera: bool) -> None:
    """A rider on a bicycle, seen from the end or, when crossing, from the side."""
    body = _Body(canvas, x, z, BICYCLIST)
    jacket, trousers = pick(rng, RIDER_JACKETS + CLOTHES[:4]), pick(rng, CLOTHES[:5])
    frame, skin = pick(rng, CAR_PAINTS), pick(rng, SKINS)
    helmet = pick(rng, [(230, 230, 226), (200, 40, 40), (30, 30, 34), (40, 90, 170)])
    if sideways:
        way = rng.choice([-1, 1])

        def turned(*joints):
            return [(way * a, b) for a, b in joints]

        body.limb(turned((-0.1, 0.95), (0.2, 0.66), (-0.08, 0.2)), 0.14, tuple(0.7 * c for c in trousers))
        for hub in (-0.52, 0.52):
            _wheel(body, (way * hub, 0.34), (0.34, 0.34))
        body.limb(turned((-0.52, 0.34), (0.0, 0.3), (0.42, 0.82), (-0.16, 0.84), (0.0, 0.3)), 0.06, frame)
        body.limb(turned((0.52, 0.34), (0.42, 0.82), (0.4, 1.0), (0.52, 1.02)), 0.06, frame)
        body.limb(turned((-0.16, 0.84), (-0.2, 0.95)), 0.07, (30, 30, 32))
        body.limb(turned((-0.14, 0.98), (0.26, 0.78), (0.1, 0.34)), 0.15, trousers)
        body.limb(turned((0.1, 0.26), (0.2, 0.24)), 0.09, (30, 28, 28))
        body.limb(turned((-0.14, 1.02), (0.16, 1.42)), 0.3, jacket)
        body.limb(turned((0.16, 1.4), (0.26, 1.14), (0.48, 1.06)), 0.1, tuple(0.8 * c for c in jacket))
        body.head(rng, (way * 0.28, 1.64), toward_camera, helmet)
        return
    body.limb([(-0.28, 1.02), (0.28, 1.02)], 0.06, (36, 36, 40))
    _wheel(body, (0, 0.34), (0.065, 0.34))
    body.limb([(0, 0.4), (0, 0.9)], 0.09, frame)
    lift = rng.uniform(-0.14, 0.14)
    for side, height in ((-1, lift), (1, -lift)):
        body.limb([(side * 0.1, 0.95), (side * 0.19, 0.62 + height), (side * 0.13, 0.3 + height)], 0.15, trousers)
        body.limb([(side * 0.13, 0.26 + height), (side * 0.15, 0.22 + height)], 0.1, (30, 28, 28))
        body.limb([(side * 0.2, 1.42), (side * 0.32, 1.2), (side * 0.27, 1.04)], 0.11, tuple(0.8 * c for c in jacket))
        body.ball((side * 0.27, 1.03), (0.05, 0.05), skin)
    body.shape([(-0.16, 0.9), (0.16, 0.9), (0.23, 1.42), (0.1, 1.52), (-0.1, 1.52), (-0.23, 1.42)], jacket)
    if not toward_camera:
        body.canvas.ellipse(body.at((0, 0.84)), (0.05 * body.scale,) * 2, (210, 30, 28))
    body.head(rng, (0, 1.66), toward_camera, helmet)
