"""The painter's tools behind `scenes`: a pinhole camera, daylight, a canvas that keeps labels, and the lens.

World coordinates are metres: x to the right of the camera, y above the road, z ahead. Pixels are (column, row) of the
finished 480×360 picture; the canvas itself is `SCALE` times finer, which is what smooths the edges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HEIGHT, WIDTH = 360, 480
SCALE = 2
SKY_ROWS = 240  # the ground hides all below

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)

Colour = tuple[float, ...]  # red, green, blue, 0 … 255
Paint = tuple[int, ...]  # a colour as it goes onto the canvas; a fourth number is its alpha
Point = Sequence[float] | np.ndarray  # in metres: (x, z) on the ground or (x, y, z); in pixels: (column, row)


@dataclass(frozen=True)
class Camera:
    """A camera behind a windscreen, looking along +z over a road that may bend and climb."""

    focal: float  # pixels
    height: float  # metres above the road
    horizon: float  # row of the vanishing point
    centre: float  # column of the vanishing point
    roll: float  # radians
    bend: float  # sideways metres per squared metre ahead
    rise: float  # upward metres per squared metre ahead

    def project(self, points: np.ndarray | Sequence[Point] | Point) -> np.ndarray:
        """World points …×3 in metres -> …×2 pixels; what lies behind the lens is pulled in front of it."""
        points = np.asarray(points, np.float64)
        z = np.maximum(points[..., 2], 0.6)
        right = self.focal * (points[..., 0] / z + self.bend * z)
        down = self.focal * ((self.height - points[..., 1]) / z - self.rise * z)
        pixels = np.empty((*z.shape, 2))
        pixels[..., 0] = self.centre + right - self.roll * down
        pixels[..., 1] = self.horizon + down + self.roll * right
        return np.minimum(np.maximum(pixels, -3000), 3000)

    def pixels_per_metre(self, z: float) -> float:
        """How large a metre looks `z` metres ahead."""
        return self.focal / max(z, 0.6)


@dataclass(frozen=True)
class Light:
    """Weather and time of day; colours are 0 … 255, factors multiply them."""

    name: str
    sky_top: Colour
    sky_low: Colour
    ambient: Colour  # factor on every surface
    sun: Colour  # factor added where the sun shines squarely
    toward_sun: tuple[float, float]  # horizontal unit vector (x, z)
    shadow_length: float  # metres of shadow per metre of height
    shadow_depth: float  # 0 … 1, how dark a shadow is
    cloud_cover: float  # 0 … 1
    haze: float  # per metre
    lit_windows: float  # share of windows with a lamp behind
    wetness: float  # 0 … 1, how much the road mirrors

    def on(self, normal_x: float, normal_z: float) -> Colour:
        """Factor on an upright surface whose outward normal is (normal_x, normal_z)."""
        facing = max(0.0, float(normal_x) * self.toward_sun[0] + float(normal_z) * self.toward_sun[1])
        (red, green, blue), (sun_red, sun_green, sun_blue) = self.ambient, self.sun
        return red + sun_red * facing, green + sun_green * facing, blue + sun_blue * facing

    @property
    def on_ground(self) -> Colour:
        """Factor on the ground."""
        return tuple(a + 0.55 * s for a, s in zip(self.ambient, self.sun, strict=True))


def random_camera(rng: np.random.Generator) -> Camera:
    """Where the camera hangs in this car, and how the road ahead runs."""
    return Camera(
        focal=rng.uniform(390, 470),
        height=rng.uniform(1.35, 1.75),
        horizon=rng.uniform(150, 195),
        centre=rng.uniform(190, 290),
        roll=rng.normal(0, 0.008),
        bend=rng.normal(0, 0.0011),
        rise=rng.normal(0, 0.00012),
    )


def _rgb(values) -> tuple[float, ...]:
    """Three plain floats, which are much faster one by one than array elements."""
    return tuple(float(value) for value in values)


def random_light(rng: np.random.Generator) -> Light:
    """Clear, overcast, dusk or wet, each with its own spread."""
    name = str(rng.choice(["clear", "overcast", "dusk", "wet"], p=[0.5, 0.22, 0.13, 0.15]))
    angle = rng.uniform(0.15, 0.85) * np.pi * rng.choice([-1, 1])  # 0 is straight ahead
    toward_sun = (float(np.sin(angle)), float(np.cos(angle)))
    warm = rng.uniform(0, 1)
    if name == "clear":
        return Light(
            name=name,
            sky_top=_rgb(np.array([92, 146, 208]) + rng.uniform(-18, 22)),
            sky_low=_rgb(np.array([206, 222, 236]) + warm * np.array([22, 4, -18])),
            ambient=(0.55, 0.59, 0.66),
            sun=(0.68, 0.62 - 0.05 * warm, 0.52 - 0.14 * warm),
            toward_sun=toward_sun,
            shadow_length=rng.uniform(0.5, 1.1),
            shadow_depth=rng.uniform(0.42, 0.58),
            cloud_cover=rng.uniform(0.05, 0.6),
            haze=rng.uniform(0.001, 0.005),
            lit_windows=0.0,
            wetness=0.0,
        )
    if name == "dusk":
        return Light(
            name=name,
            sky_top=_rgb(np.array([66, 76, 122]) + rng.uniform(-10, 20)),
            sky_low=_rgb(np.array([236, 170, 126]) + warm * np.array([-30, 0, 36])),
            ambient=(0.42, 0.41, 0.5),
            sun=(0.34, 0.24, 0.15),
            toward_sun=toward_sun,
            shadow_length=0.3,
            shadow_depth=0.22,
            cloud_cover=rng.uniform(0.1, 0.5),
            haze=rng.uniform(0.003, 0.006),
            lit_windows=rng.uniform(0.25, 0.5),
            wetness=float(rng.choice([0.0, 0.25])),
        )
    grey = rng.uniform(-14, 16)
    wet = name == "wet"
    return Light(
        name=name,
        sky_top=_rgb(np.array([150, 160, 174]) + grey - 18 * wet),
        sky_low=_rgb(np.array([214, 218, 222]) + grey - 12 * wet),
        ambient=(0.76, 0.78, 0.82) if not wet else (0.66, 0.69, 0.74),
        sun=(0.14, 0.14, 0.13),
        toward_sun=toward_sun,
        shadow_length=0.18,
        shadow_depth=0.3,
        cloud_cover=rng.uniform(0.55, 0.95),
        haze=rng.uniform(0.004, 0.009),
        lit_windows=0.12 * wet,
        wetness=rng.uniform(0.3, 0.45) * wet,
    )


class Canvas:
    """An image and its label map, painted far to near by the same shapes.

    A shape with `label=None` is a detail of what lies under it and leaves the labels as they are.
    """

    def __init__(self, background: np.ndarray, camera: Camera, light: Light):
        """background: the sky for the top SKY_ROWS rows, ×3 uint8 of any size; everything starts out labelled Sky."""
        size = (WIDTH * SCALE, HEIGHT * SCALE)
        self.camera, self.light = camera, light
        self._image = Image.new("RGB", size)
        self._image.paste(Image.fromarray(background).resize((size[0], SKY_ROWS * SCALE), Image.Resampling.BILINEAR))
        self._labels = Image.new("L", size, SKY)
        self._pen = ImageDraw.Draw(self._image)
        self._glaze = ImageDraw.Draw(self._image, "RGBA")
        self._label_pen = ImageDraw.Draw(self._labels)

    def tone(self, colour: Colour, depth: float, factor: Colour) -> tuple[int, int, int]:
        """The colour of a surface `depth` metres away under the light `factor`, seen through haze."""
        clear = math.exp(-self.light.haze * depth)
        (red, green, blue), (fog_red, fog_green, fog_blue) = colour, self.light.sky_low
        return (
            int(min(255.0, red * factor[0] * clear + fog_red * (1 - clear))),
            int(min(255.0, green * factor[1] * clear + fog_green * (1 - clear))),
            int(min(255.0, blue * factor[2] * clear + fog_blue * (1 - clear))),
        )

    def polygon(self, pixels: np.ndarray, colour: Paint, label: int | None = None) -> None:
        """pixels: N×2. A colour with an alpha, 0 … 255, is laid over as a glaze."""
        outline = (pixels * SCALE).ravel().tolist()
        (self._pen if len(colour) == 3 else self._glaze).polygon(outline, fill=colour)
        if label is not None:
            self._label_pen.polygon(outline, fill=label)

    def face(self, points: np.ndarray | Sequence[Point], colour: Paint, label: int | None = None) -> None:
        """A flat surface given by its corners in the world, N×3 metres."""
        self.polygon(self.camera.project(points), colour, label)

    def faces(self, quads: np.ndarray, colours: Sequence[Paint], label: int | None = None) -> None:
        """Many quadrilaterals at once, K×4×3 metres with K colours; what is too small or outside is left out."""
        pixels = self.camera.project(quads)
        low, high = pixels.min(axis=1), pixels.max(axis=1)
        visible = np.all((high > 0) & (low < (WIDTH, HEIGHT)) & (high - low > 0.8), axis=1)
        for index in np.flatnonzero(visible).tolist():
            self.polygon(pixels[index], colours[index], label)

    def ellipse(self, centre: Point, radii: Point, colour: Paint, label: int | None = None) -> None:
        """Axis-parallel ellipse: centre and radii in pixels."""
        (x, y), (rx, ry) = centre, radii
        box = [(x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE]
        (self._pen if len(colour) == 3 else self._glaze).ellipse(box, fill=colour)
        if label is not None:
            self._label_pen.ellipse(box, fill=label)

    def limb(self, pixels: np.ndarray, width: float, colour: Paint, label: int | None = None) -> None:
        """A bent bar with round joints and ends: N×2 pixels, width in pixels."""
        path = (pixels * SCALE).ravel().tolist()
        thickness = max(1, round(width * SCALE))
        self._pen.line(path, fill=colour, width=thickness)
        if label is not None:
            self._label_pen.line(path, fill=label, width=thickness)
        for joint in pixels:
            self.ellipse(joint, (width / 2, width / 2), colour, label)

    def shadows(self, outlines: list[np.ndarray]) -> None:
        """Darken the ground inside every outline (N×3 metres, y = 0); overlapping shadows do not add up."""
        mask = Image.new("L", (WIDTH, HEIGHT), 0)
        pen = ImageDraw.Draw(mask)
        for outline in outlines:
            pen.polygon(self.camera.project(outline).ravel().tolist(), fill=int(255 * self.light.shadow_depth))
        top = int(self.camera.horizon) - 12
        mask = mask.crop((0, top, WIDTH, HEIGHT)).filter(ImageFilter.BoxBlur(1.5))
        mask = mask.resize((WIDTH * SCALE, (HEIGHT - top) * SCALE), Image.Resampling.BILINEAR)
        self._image.paste((22, 26, 40), (0, top * SCALE), mask)

    def finished(self) -> tuple[np.ndarray, np.ndarray]:
        """Image HEIGHT×WIDTH×3 float32 in 0 … 255 and labels HEIGHT×WIDTH uint8."""
        image = np.array(self._image.reduce(SCALE), np.float32)
        return image, np.asarray(self._labels)[::SCALE, ::SCALE].copy()


def pick(rng: np.random.Generator, colours: Sequence[Colour], spread: float = 8.0) -> Colour:
    """One of the colours, a little lighter or darker than listed."""
    return tuple(np.clip(np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, spread), 8, 245))


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: list[tuple[int, int]]) -> np.ndarray:
    """Sum of smooth random fields, the first the strongest: shape (rows, columns) float32, about −1 … 1.

    cells: (rows, columns) of each field before it is spread over the shape.
    """
    total = np.zeros(shape, np.float32)
    for octave, grid in enumerate(cells):
        field = Image.fromarray(rng.uniform(-1, 1, grid).astype(np.float32))
        total += np.asarray(field.resize(shape[::-1], Image.Resampling.BILINEAR)) * 0.6**octave
    return total


def paint_sky(rng: np.random.Generator, camera: Camera, light: Light) -> np.ndarray:
    """SKY_ROWS/3 × WIDTH/3 × 3 uint8: a gradient down to the horizon, the sun's glow, and soft clouds."""
    rows, columns = np.mgrid[0:SKY_ROWS:3, 0:WIDTH:3].astype(np.float32)
    fall = np.clip(rows / camera.horizon, 0, 1)[..., None] ** 1.3
    sky = np.array(light.sky_top) * (1 - fall) + np.array(light.sky_low) * fall
    glow_column = camera.centre + 260 * light.toward_sun[0]
    glow = np.exp(-(((columns - glow_column) / 190) ** 2) - ((rows - camera.horizon + 90) / 120) ** 2)[..., None]
    sky = sky + glow * np.array(light.sun) * 38 * max(0.0, light.toward_sun[1] + 0.3)
    noise = smooth_noise(rng, rows.shape, [(5, 5), (10, 9), (20, 18)])
    cloud = np.clip((noise - 0.75 + 1.5 * light.cloud_cover) * 1.6, 0, 1)[..., None]
    underside = np.clip(0.5 + 0.5 * noise[np.maximum(np.arange(len(noise)) - 5, 0)], 0, 1)[..., None]
    body = np.array(light.sky_low) * (1.08 - 0.24 * underside)
    return np.clip(sky * (1 - 0.85 * cloud) + body * 0.85 * cloud, 0, 255).astype(np.uint8)


# How strongly each class is mottled by (coarse, fine) noise: leaves most, painted metal hardly at all.
_MOTTLE = np.array(
    [
        *((0, 0), (0.05, 0.05), (0.02, 0.03), (0, 0), (0, 0), (0.26, 0.2)),  # Sky … Tree
        *((0.01, 0.02), (0.06, 0.08), (0.02, 0.02), (0.05, 0.05), (0.03, 0.05)),  # SignSymbol … Bicyclist
    ],
    np.float32,
)


def add_texture(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray) -> None:
    """Mottle, in place, every surface by the noise of its class: leaf, brick, cloth. H×W×3 float32, labels H×W."""
    coarse = smooth_noise(rng, labels.shape, [(100, 133)])
    fine = rng.uniform(-1, 1, labels.shape).astype(np.float32)
    fine = fine + np.roll(fine, 1, axis=1)  # grains two pixels wide
    image *= (1 + _MOTTLE[:, 0].take(labels) * coarse + _MOTTLE[:, 1].take(labels) * fine)[..., None]


def add_ground_texture(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, camera: Camera, light: Light
) -> None:
    """Add, in place, grain, stains and haze to road and pavement; laid out in metres, so they shrink with distance.

    image: HEIGHT×WIDTH×3 float32. labels: HEIGHT×WIDTH.
    """
    top = int(camera.horizon) - 12
    rows, columns = np.mgrid[top:HEIGHT, 0:WIDTH].astype(np.float32)
    below = np.maximum(rows - camera.horizon - camera.roll * (columns - camera.centre), 1.0)
    z = np.minimum(camera.focal * camera.height / below, 200.0)
    x = (columns - camera.centre) * z / camera.focal - camera.bend * z**2
    stains = smooth_noise(rng, (256, 256), [(24, 24), (64, 64)])
    stains += 0.4 * np.sin(np.arange(256) * (7 * 2 * np.pi / 256)).astype(np.float32)  # wheel tracks
    grain = rng.uniform(-1, 1, (256, 256)).astype(np.float32)

    def tiled(tile, along, across):
        return tile[(z * along).astype(np.int32) & 255, (x * across).astype(np.int32) & 255]

    stain, speckle = tiled(stains, 6, 20), tiled(grain, 45, 45)  # stains are longer along the road than across
    near = 14 / (14 + z)
    texture = 1 + near * (0.09 * stain + 0.09 * speckle)
    ground = (labels[top:] == ROAD) | (labels[top:] == PAVEMENT)
    clear = np.exp(-light.haze * z)
    gain, fog = np.where(ground, texture * clear, 1), np.where(ground, 1 - clear, 0)
    image[top:] *= gain[..., None]
    image[top:] += fog[..., None] * np.array(light.sky_low, np.float32)


def add_reflection(image: np.ndarray, labels: np.ndarray, camera: Camera, light: Light) -> np.ndarray:
    """Let a wet road mirror, smeared downwards, what stands above the horizon: HEIGHT×WIDTH×3 float32 -> the same."""
    rows = np.clip(2 * int(camera.horizon) - np.arange(HEIGHT), 0, HEIGHT - 1)
    mirrored = np.cumsum(image[rows], axis=0)
    smear = 24
    mirrored[smear:] = (mirrored[smear:] - mirrored[:-smear]) / smear
    mirrored[:smear] /= np.arange(1, smear + 1, dtype=np.float32)[:, None, None]
    amount = light.wetness * np.where(labels == ROAD, 1.0, 0.6 * (labels == PAVEMENT)).astype(np.float32)[..., None]
    return image * (1 - amount) * (1 - 0.2 * amount) + mirrored * amount


def take_photo(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What the camera adds: white balance, exposure, contrast, vignetting, blur, sensor noise.

    Image HEIGHT×WIDTH×3 float32, 0 … 255 -> the same in uint8.
    """
    balance = 1 + rng.normal(0, 0.025, 3)
    exposure = rng.uniform(1.02, 1.22)
    rows, columns = np.ogrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    vignette = 1 - rng.uniform(0.04, 0.16) * (rows**2 + columns**2)
    image = image * vignette.astype(np.float32)[..., None]
    image *= (balance * exposure).astype(np.float32)
    if rng.random() < 0.35:
        photo = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
        image = np.array(photo.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.6))), np.float32)
    grain = rng.standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32)
    image += grain * np.float32(rng.uniform(1.0, 3.5))
    return np.clip(image, 0, 255, out=image).astype(np.uint8)
