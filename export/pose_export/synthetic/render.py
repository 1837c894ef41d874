"""Rasterising a scene with OpenGL: what the camera sees, who it belongs to, and how far away it is.

moderngl on whatever EGL finds: a GPU, or Mesa's software rasteriser.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pose_export.synthetic.coarse import coarser, level_for
from pose_export.synthetic.device import Program, interleaved, layout, open_context
from pose_export.synthetic.light import Light
from pose_export.synthetic.looks import MATERIALS, Look, Material, parts_of
from pose_export.synthetic.surface import Surface
from pose_export.synthetic.view import View

Floats = NDArray[np.float32]

SHADOW_TEXELS = 1024
NOISE = 32
MAX_BONES = 64
MAX_CONTACTS = 32
_SHADOWLESS = ("eye", "brow", "lash", "teeth")
MAX_PARTS = 255
"""Of surfaces in a picture: as many numbers as a byte has, without 0 for nothing."""
_NO, _YES = (False,) * 4, (True,) * 4
NEAR, FAR = 0.05, 80.0
# factors of the spherical harmonics in Light.ambient, which the shader leaves out
_SKY = np.array([0.282095, 0.488603, 0.488603, 0.488603, 1.092548, 1.092548, 0.315392, 1.092548, 0.546274], np.float32)


@dataclass(frozen=True, kw_only=True)
class Drawable:
    """A surface in the world.

    Attributes:
        surface: at rest.
        look: its colours.
        transforms: float32 (B, 3, 4), rest to world.
        owner: 1 to 254 for people, `THING` for everything else.
    """

    surface: Surface
    look: Look
    transforms: Floats
    owner: int


THING = 255


@dataclass(frozen=True, kw_only=True)
class Rendering:
    """What the camera sees, top row first.

    Attributes:
        colour: float32 (H, W, 4), linear RGB times alpha, and alpha.
        owner: uint8 (H, W), 0 where nothing is.
        depth: float32 (H, W), metres along the optical axis; inf where nothing is.
    """

    colour: Floats
    owner: NDArray[np.uint8]
    depth: Floats


@dataclass(frozen=True, kw_only=True)
class Floor:
    """Shadows on the plane y = 0.

    Attributes:
        strength: share of the floor's light that comes from the sun.
        contacts: float32 (n, 4): x, z, radius, darkness of what stands on it.
    """

    strength: float
    contacts: Floats


class Renderer:
    """Draws scenes of one picture size. Meshes stay on the device as long as their Surface lives.

    First the surfaces are sampled, four times per pixel, then every sample that is seen is shaded once: triangles are
    smaller than pixels, and shading is dear.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        self.size_wh = size_wh
        self._context = open_context()
        with self._context:
            self._make_programs()
            self._make_targets()
        self._shaders: dict[tuple[Material, int], tuple[Program, Any]] = {}
        self._meshes: weakref.WeakKeyDictionary[Surface, tuple[Any, Any, int]] = weakref.WeakKeyDictionary()

    def _make_programs(self) -> None:
        context = self._context
        self._sample = Program(context, "surface.vert", "surface.frag")
        self._shadow = Program(context, "surface.vert", "shadow.frag")
        self._floor = Program(context, "floor.vert", "floor.frag")
        self._mark = Program(context, "shade.vert", "mark.frag")
        self._resolve = Program(context, "shade.vert", "resolve.frag")
        self._square = context.buffer(np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32))
        ground = np.array([[-60, 0, -60], [60, 0, -60], [-60, 0, 60], [60, 0, 60]], np.float32)
        self._ground = context.vertex_array(self._floor.program, [(context.buffer(ground), "3f", "position")])
        self._whole = self._rectangle(self._resolve)
        self._marking = self._rectangle(self._mark)
        self._noise = context.texture3d((NOISE, NOISE, NOISE), 4, _noise().tobytes())

    def _rectangle(self, program: Program) -> Any:
        return self._context.vertex_array(program.program, [(self._square, "2f", "corner")])

    def _make_targets(self) -> None:
        context = self._context
        size = (2 * self.size_wh[0], 2 * self.size_wh[1])
        self._shadow_map = context.depth_texture((SHADOW_TEXELS, SHADOW_TEXELS))
        self._shadow_map.compare_func = "<="
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow_target = context.framebuffer(depth_attachment=self._shadow_map)
        self._depth = context.depth_texture(size)
        self._depth.compare_func = ""
        self._layers = [context.texture(size, 4, dtype=kind) for kind in ("f4", "f2", "f4")]
        self._codes = context.texture(size, 1)
        self._samples = context.framebuffer([*self._layers, self._codes], self._depth)
        self._shaded = context.texture(size, 4, dtype="f2")
        for texture in (*self._layers, self._codes, self._depth, self._shaded):
            texture.filter = context.NEAREST, context.NEAREST
        self._shading = context.framebuffer([self._shaded], context.depth_renderbuffer(size))
        self._code_reader = context.framebuffer([self._codes])
        outputs = [context.renderbuffer(self.size_wh, 4, dtype=kind) for kind in ("f2", "f4")]
        self._result = context.framebuffer(outputs)
        self._final = context.framebuffer(outputs[:1])

    def close(self) -> None:
        """Release the device; nothing can be rendered afterwards."""
        self._meshes.clear()
        self._context.release()

    def render(self, view: View, drawables: list[Drawable], light: Light, floor: Floor | None) -> Rendering:
        """One picture. Of more than `MAX_PARTS` parts of surfaces the last ones are left out, things before people."""
        with self._context:
            self._context.gc()
            return self._render(view, drawables, light, floor)

    def _render(self, view: View, drawables: list[Drawable], light: Light, floor: Floor | None) -> Rendering:
        drawables = self._fitting([near for item in drawables if (near := _far(item, view)) is not None])
        numbers = np.cumsum([1, *(self._mesh(item.surface)[2] for item in drawables)])
        pieces = _pieces(drawables, numbers)
        clip = clip_matrix(view)
        sun_clip = sun_matrix(light.direction, drawables)
        context = self._context
        context.enable_only(context.DEPTH_TEST)
        self._shadow_target.use()
        self._shadow_target.clear(depth=1.0)
        self._draw(self._shadow, drawables, numbers, sun_clip)
        self._samples.use()
        self._samples.color_mask = (_NO, _NO, _NO, _YES)  # only the numbers need to be cleared
        self._samples.clear(depth=1.0)
        self._samples.color_mask = (_YES, _YES, _YES, _YES)
        self._draw(self._sample, drawables, numbers, clip)
        codes = np.frombuffer(self._code_reader.read(components=1), np.uint8).reshape(self._codes.height, -1)
        self._shade(view, pieces, light, clip, sun_clip, codes)
        self._to_pixels()
        if floor is not None:
            self._draw_floor(floor, light, clip, sun_clip)
        return self._read(pieces)

    def _fitting(self, drawables: list[Drawable]) -> list[Drawable]:
        room, kept = MAX_PARTS, set()
        for i in sorted(range(len(drawables)), key=lambda i: drawables[i].owner == THING):
            room -= self._mesh(drawables[i].surface)[2]
            if room < 0:
                break
            kept.add(i)
        return [item for i, item in enumerate(drawables) if i in kept]

    def _draw(self, program: Program, drawables: list[Drawable], numbers: NDArray[np.int64], clip: Floats) -> None:
        program.set(clip=clip.T)
        for item, number in zip(drawables, numbers[:-1], strict=True):
            if program is self._shadow and item.surface.kind in _SHADOWLESS:
                continue
            program.set(bones=item.transforms[:MAX_BONES], number=float(number), cut=item.look.cut)
            in_shadow, sampled, _ = self._mesh(item.surface)
            (sampled if program is self._sample else in_shadow).render()

    def _shade(
        self,
        view: View,
        pieces: list[tuple[Drawable, int]],
        light: Light,
        clip: Floats,
        sun_clip: Floats,
        numbers: NDArray[np.uint8],
    ) -> None:
        self._shading.use()
        self._context.depth_func = "1"
        for unit, texture in enumerate((*self._layers, self._depth, self._shadow_map, self._noise, self._codes)):
            texture.use(unit)
        self._mark.set(codes=6, box=(-1.0, -1.0, 1.0, 1.0), number=1.0)
        self._marking.render(self._context.TRIANGLE_STRIP)
        self._context.depth_func = "=="
        scene = {
            "unclip": np.linalg.inv(clip.astype(np.float64)).T,
            "sun_clip": sun_clip.T,
            "eye": (0.0, view.height, 0.0),
            "sun": light.direction,
            "sun_colour": light.colour,
            "sky": light.ambient * _SKY[:, None],
            "shadow_soft": _softness(light),
        }
        fresh = set()
        for number, box in _boxes(numbers):
            item, part = pieces[number - 1]
            key, paint = _paint(item.look, part)
            program, square = self._shader(*key)
            if key not in fresh:
                program.set(**scene)
                fresh.add(key)
            program.set(number=float(number), box=box, **paint)
            square.render(self._context.TRIANGLE_STRIP)
        self._context.depth_func = "<"

    def _shader(self, material: Material, kind: int) -> tuple[Program, Any]:
        """The program for a material and a fabric, and the rectangle that it paints; compiled when first needed."""
        made = self._shaders.get((material, kind))
        if made is None:
            define = f"#define MATERIAL {MATERIALS.index(material)}\n#define KIND {kind}"
            program = Program(self._context, "shade.vert", "shade.frag", define)
            program.set(places=0, facings=1, strands=2, depths=3, shadow_map=4, noise_texture=5)
            made = program, self._rectangle(program)
            self._shaders[material, kind] = made
        return made

    def _to_pixels(self) -> None:
        self._result.use()
        self._context.disable(self._context.DEPTH_TEST)
        for unit, texture in enumerate((self._shaded, self._depth, self._codes)):
            texture.use(unit)
        self._resolve.set(samples=0, depths=1, codes=2, planes=(NEAR, FAR), box=(-1.0, -1.0, 1.0, 1.0), number=0.0)
        self._whole.render(self._context.TRIANGLE_STRIP)

    def _draw_floor(self, floor: Floor, light: Light, clip: Floats, sun_clip: Floats) -> None:
        context = self._context
        self._final.use()
        context.enable(context.BLEND)
        self._depth.use(5)
        context.blend_func = context.ONE, context.ONE_MINUS_SRC_ALPHA
        count = min(len(floor.contacts), MAX_CONTACTS)
        self._floor.set(clip=clip.T, sun_clip=sun_clip.T, contacts=floor.contacts[:count], count=count)
        self._floor.set(shadow_map=4, depths=5, strength=floor.strength, shadow_soft=_softness(light))
        self._ground.render(context.TRIANGLE_STRIP)
        context.disable(context.BLEND)

    def _read(self, pieces: list[tuple[Drawable, int]]) -> Rendering:
        width, height = self.size_wh
        colour = np.frombuffer(self._result.read(components=4, dtype="f2"), np.float16).reshape(height, width, 4)
        known = np.frombuffer(self._result.read(components=4, attachment=1, dtype="f4"), np.float32)
        known = np.flipud(known.reshape(height, width, 4))
        number = np.round(known[:, :, 1]).astype(np.uint8)
        owners = np.array([0, *(item.owner for item, _ in pieces)], np.uint8)
        return Rendering(
            colour=np.flipud(colour).astype(np.float32),
            owner=owners[number],
            depth=np.where(number > 0, known[:, :, 0], np.inf).astype(np.float32),
        )

    def _mesh(self, surface: Surface) -> tuple[Any, Any, int]:
        """Vertex arrays for the shadow and for sampling, and the number of parts."""
        made = self._meshes.get(surface)
        if made is None:
            context = self._context
            parts = parts_of(surface)
            vertices = context.buffer(interleaved(surface, parts))
            indices = context.buffer(surface.triangles.astype(np.uint32).tobytes())
            in_shadow, sampled = (
                context.vertex_array(program.program, [(vertices, *layout(program))], indices)
                for program in (self._shadow, self._sample)
            )
            made = in_shadow, sampled, int(parts.max()) + 1
            self._meshes[surface] = made
        return made


def _noise() -> NDArray[np.uint8]:
    """Four independent values per cell; the device interpolates between them."""
    return np.random.default_rng(7).integers(0, 256, (NOISE, NOISE, NOISE, 4), np.uint8)


def _softness(light: Light) -> float:
    """Texels over which the edge of a shadow is spread."""
    return 1.0 + 9.0 * (1.0 - light.hardness)


def _paint(look: Look, part: int) -> tuple[tuple[Material, int], dict[str, Any]]:
    """Which program paints a part of a surface, and its uniforms."""
    row = min(part, 2) if look.material == "cloth" else 0
    pattern = look.pattern[row]
    woven = look.material in ("cloth", "shoe")
    paint = {
        "colours": np.roll(look.colours, -3 * row, axis=0),
        "pattern": pattern,
        "detail": np.array([look.seed, look.folds, look.gloss, look.cut], np.float32),
        "centre": look.centre,
    }
    return (look.material, int(pattern[0]) if woven else 0), paint


def _far(item: Drawable, view: View) -> Drawable | None:
    """The drawable with as many triangles as its distance deserves; None where nothing of it can be seen."""
    middle = item.transforms[0, :, :3] @ item.surface.positions[0] + item.transforms[0, :, 3]
    metres = max(float((middle - (0, view.height, 0)) @ view.axes()[2]) - 0.6, NEAR)
    level = level_for(metres / view.focal_px)
    if item.surface.kind in ("lash", "teeth") and level > 0:
        return None
    surface = _coarse(item.surface, level)
    return replace(item, surface=surface) if len(surface.triangles) else None


def _coarse(surface: Surface, level: int) -> Surface:
    made = _LEVELS.setdefault(surface, {})
    if level not in made:
        less = coarser(surface, level)
        made[level] = None if less is surface else less  # a value that refers to its key would keep it for ever
    return made[level] or surface


_LEVELS: weakref.WeakKeyDictionary[Surface, dict[int, Surface | None]] = weakref.WeakKeyDictionary()


def _pieces(drawables: list[Drawable], numbers: NDArray[np.int64]) -> list[tuple[Drawable, int]]:
    """What the numbers from 1 stand for: a drawable and a part of it."""
    return [(item, part) for item, n in zip(drawables, np.diff(numbers), strict=True) for part in range(n)]


def _boxes(numbers: NDArray[np.uint8]) -> list[tuple[int, tuple[float, float, float, float]]]:
    """For every number in the picture (rows from the bottom): the rectangle in clip space that holds its samples."""
    height, width = numbers.shape
    coarse = numbers[::2, ::2]
    found = []
    for number in np.flatnonzero(np.bincount(coarse.ravel(), minlength=256)[1:]) + 1:
        here = coarse == number
        x, y = np.flatnonzero(here.any(0)), np.flatnonzero(here.any(1))
        left, right = (2 * x[0] - 4) / width, (2 * x[-1] + 6) / width
        low, high = (2 * y[0] - 4) / height, (2 * y[-1] + 6) / height
        found.append((int(number), (2 * left - 1, 2 * low - 1, 2 * right - 1, 2 * high - 1)))
    return found


def clip_matrix(view: View) -> Floats:
    """World to OpenGL's clip space, (4, 4)."""
    width, height = view.size_wh
    right, up, forward = view.axes()
    matrix = np.zeros((4, 4))
    matrix[0, :3] = 2 * view.focal_px / width * right
    matrix[1, :3] = 2 * view.focal_px / height * up
    matrix[2, :3] = (FAR + NEAR) / (FAR - NEAR) * forward
    matrix[3, :3] = forward
    matrix[2, 3] = -2 * FAR * NEAR / (FAR - NEAR)
    move = np.eye(4)
    move[1, 3] = -view.height
    clip: Floats = (matrix @ move).astype(np.float32)
    return clip


def sun_matrix(sun: Floats, drawables: list[Drawable]) -> Floats:
    """World to the shadow map's clip space, (4, 4): parallel light, just around everybody."""
    if not drawables:
        return np.eye(4, dtype=np.float32)
    spots = np.concatenate([item.transforms[:, :, 3] + item.transforms[:, :, :3] @ _middle(item) for item in drawables])
    centre = (spots.min(0) + spots.max(0)) / 2
    radius = min(float(np.linalg.norm(spots - centre, axis=1).max()) + 1.2, 12.0)
    forward = -sun / np.linalg.norm(sun)
    right = np.cross(forward, [0.0, 1.0, 0.0] if abs(forward[1]) < 0.99 else [1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), forward])
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = axes / radius
    matrix[:3, 3] = -axes @ centre / radius
    return matrix


def _middle(item: Drawable) -> Floats:
    return np.asarray(item.surface.positions.mean(0))
