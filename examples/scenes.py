"""The stories of the demo videos: what happens, the sentences that tell it, and how it looks.

A story is a list of events, each with the sentence that tells it. The sentences say what happens in
the order in which it happens and use no order words ("first", "then"): only the pictures tell which
of two sentences comes earlier.

A drawing gets a canvas, `done` (event name -> 0..1, how far that event has come) and the time in
seconds, from the start of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from reelscript.examples.drawing import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    NAVY,
    ORANGE,
    PURPLE,
    RAINBOW,
    RED,
    WHITE,
    YELLOW,
    Canvas,
    Color,
    between,
    blend,
    part,
)

Drawing = Callable[[Canvas, Mapping[str, float], float], None]


@dataclass(frozen=True)
class Event:
    """Something that happens, and the sentence that tells it."""

    name: str
    text: str


@dataclass(frozen=True)
class Story:
    """Events in the order in which they happen, and how they look. `language`: ISO 639-1."""

    name: str
    language: str
    events: tuple[Event, ...]
    draw: Drawing


def cloud(canvas: Canvas, x: float, y: float, color: Color, alpha: float = 1.0) -> None:
    """Paints a cloud around (x, y)."""
    for dx, dy, radius in ((-16, 3, 10), (0, -3, 14), (16, 3, 11)):
        canvas.disc(x + dx, y + dy, radius, color, alpha)


def garden(canvas: Canvas, done: Mapping[str, float], t_s: float) -> None:
    """Draws a house, a tree and a hill between a sunrise and a moonrise."""
    day = between(0, 1, done["sunrise"]) * (1 - between(0, 1, done["sunset"]))
    wet = between(0, 1, done["rain"]) * (1 - between(0, 1, part(done["rainbow"], 0, 0.4)))
    top = blend(blend(NAVY, (70, 150, 240), day), GREY, 0.6 * wet)
    canvas.sky(top, blend(blend((50, 40, 80), (190, 225, 250), day), GREY, 0.5 * wet))
    for i in range(14):
        twinkle = (1 - day) * done["sunset"] * (0.6 + 0.4 * np.sin(3 * t_s + i))
        canvas.disc(13 + 23 * i, 10 + (i * 37) % 60, 1.2, WHITE, float(twinkle))
    canvas.disc(
        60,
        between(150, 34, done["sunrise"]) + between(0, 130, part(done["sunset"], 0, 0.6)),
        16,
        YELLOW,
    )
    canvas.disc(250, between(190, 36, part(done["sunset"], 0.45, 1)), 13, (225, 228, 235))
    for i, color in enumerate(RAINBOW):
        if done["rainbow"] > 0.3:
            shown = between(0, 0.8, part(done["rainbow"], 0.3, 1)) * (1 - done["sunset"])
            canvas.ring(160, 150, 112 - 5 * i, 5, color, shown)
    canvas.oval(60, 150, 120, 46, (70, 150, 80))
    canvas.oval(250, 152, 140, 40, (60, 135, 74))
    canvas.box(160, 160, 170, 26, (86, 168, 84))
    _tree_and_house(canvas, done, t_s)
    _weather(canvas, done, t_s, wet)
    _small_things(canvas, done, t_s)


def _tree_and_house(canvas: Canvas, done: Mapping[str, float], t_s: float) -> None:
    sway = 1.5 * np.sin(1.7 * t_s)
    canvas.box(120, 124, 4, 22, BROWN)
    canvas.disc(120 + sway, 92, 21, (34, 120, 56))
    for i in range(5):
        rise = (0.25 * t_s + 0.2 * i) % 1.0
        canvas.disc(
            262 + 14 * rise,
            62 - 46 * rise,
            3 + 7 * rise,
            (200, 200, 205),
            done["smoke"] * (1 - rise),
        )
    canvas.box(262, 72, 5, 12, (110, 60, 50))
    canvas.box(240, 118, 36, 26, (184, 130, 84))
    canvas.polygon([(196, 94), (240, 62), (284, 94)], (150, 52, 44))
    canvas.box(226, 128, 9, 16, (84, 50, 32))
    canvas.box(258, 116, 9, 9, blend((90, 120, 150), (255, 224, 120), part(done["smoke"], 0.4, 1)))


def _weather(canvas: Canvas, done: Mapping[str, float], t_s: float, wet: float) -> None:
    gone = between(0, 320, part(done["rainbow"], 0, 0.8))
    for i, home in enumerate((205, 245, 285)):
        x = between(-120 + 40 * i, home, done["clouds"]) + 3 * np.sin(0.8 * t_s + i) + gone
        cloud(canvas, x, 32 + 5 * (i % 2), blend(WHITE, (150, 156, 168), wet))
    for i in range(26 if wet > 0.02 else 0):
        fall = (1.3 * t_s + 0.618 * i) % 1.0
        x, y = 190 + (i * 41) % 115, 46 + 100 * fall
        canvas.line(x, y, x - 1, y + 7, 1.4, blend((150, 170, 200), (70, 110, 190), wet))
    canvas.oval(222, 156, between(0, 34, done["rain"]), between(0, 6, done["rain"]), (90, 140, 210))


def _small_things(canvas: Canvas, done: Mapping[str, float], t_s: float) -> None:
    high = between(0, 52, done["flower"])
    if high > 1:
        canvas.line(292, 166, 292 + np.sin(1.3 * t_s), 166 - high, 2.5, (40, 120, 50))
        for i in range(6):
            angle = i * np.pi / 3
            reach = 0.11 * high
            canvas.disc(
                292 + reach * np.cos(angle), 166 - high + reach * np.sin(angle), 0.09 * high, YELLOW
            )
        canvas.disc(292, 166 - high, 0.07 * high, BROWN)
    if done["bird"] > 0:
        x, y = between(20, 222, done["bird"]), between(12, 68, done["bird"])
        flap = 6 * np.sin(14 * t_s) * (1 - part(done["bird"], 0.9, 1)) - 2
        canvas.oval(x, y, 6, 4, BLACK)
        canvas.line(x, y, x - 8, y + flap, 2.5, BLACK)
        canvas.line(x, y, x + 8, y + flap, 2.5, BLACK)
    x = between(-14, 96, done["ball"]) + between(0, 174, done["jump"])
    y = 150 - 70 * np.sin(np.pi * between(0, 1, done["jump"]))
    canvas.disc(x, y, 10, RED)
    canvas.disc(x + 5 * np.cos(x / 10), y + 5 * np.sin(x / 10), 2.5, WHITE)  # shows that it rolls


def table(canvas: Canvas, done: Mapping[str, float], t_s: float) -> None:
    """Draws flat shapes that meet on a wooden table."""
    canvas.sky((214, 196, 168), (196, 170, 134))
    for i in range(6):
        canvas.line(
            0, 15 + 30 * i, 320, 15 + 30 * i + 3 * np.sin(0.5 * t_s + i), 1.0, (180, 152, 118)
        )
    fade = between(1, 0, done["fade"])
    length = between(0, 300, done["line"]) * fade
    if length > 1:
        canvas.line(10, 168, 10 + length, 168, 4, YELLOW)
    _square(canvas, done, fade)
    _triangle(canvas, done, fade, t_s)
    _circles(canvas, done, fade)
    if done["star"] > 0:
        spin, reach = 2 * np.pi * between(0, 2, done["star"]), 40
        for i in range(14):
            angle = spin - 0.12 * i
            x, y = 66 + reach * np.cos(angle), 66 + reach * np.sin(angle)
            canvas.disc(x, y, (3.5 - 0.2 * i) * fade, WHITE, 1 - i / 16)
        for i in range(5 if fade > 0 else 0):
            angle = spin + i * 2 * np.pi / 5
            x, y = 66 + reach * np.cos(spin), 66 + reach * np.sin(spin)
            canvas.line(
                x, y, x + 8 * fade * np.cos(angle), y + 8 * fade * np.sin(angle), 3 * fade, WHITE
            )


def _square(canvas: Canvas, done: Mapping[str, float], fade: float) -> None:
    x, half = between(350, 160, done["square"]), between(15, 30, done["grow"])
    apart = between(0, 1, done["break"])
    for sx in (-1, 1):
        for sy in (-1, 1):
            to_x, to_y = (300 if sx > 0 else 20), (150 if sy > 0 else 20)
            px = between(x + sx * half / 2, to_x, apart)
            py = between(110 + sy * half / 2, to_y, apart)
            seam = 0.6 if apart == 0 else 0.0  # hides the edges while the pieces are one
            size = half / 2 * fade * (1 - 0.3 * apart) + seam
            canvas.box(
                px, py, size, size, blend(BLUE, (90, 150, 250), 0.3 * apart), apart * np.pi / 2
            )


def _triangle(canvas: Canvas, done: Mapping[str, float], fade: float, t_s: float) -> None:
    y = between(-30, 62, done["triangle"]) + between(0, 72, part(done["break"], 0.2, 0.8))
    turn = np.pi * between(0, 1, done["turn"]) + 0.03 * np.sin(2 * t_s)
    size = 20 * fade
    corners = [
        (np.sin(turn + a) * size + 160, y - np.cos(turn + a) * size) for a in (0, 2.094, 4.189)
    ]
    if size > 0.5:
        canvas.polygon(corners, blend(GREEN, PURPLE, done["turn"]))


def _circles(canvas: Canvas, done: Mapping[str, float], fade: float) -> None:
    meet = np.sin(np.pi * between(0, 1, done["bounce"]))  # they come together and go apart
    left, right = 24 + 28 * meet, 108 - 28 * meet
    seen = part(done["bounce"], 0, 0.15)
    melt = between(0, 1, done["melt"])
    left, right = left + (66 - left) * melt, right + (66 - right) * melt
    radius = (14 + 10 * melt) * seen * fade
    canvas.disc(left, 66, radius, ORANGE)
    canvas.disc(right, 66, radius, ORANGE)


def harbour(canvas: Canvas, done: Mapping[str, float], t_s: float) -> None:
    """Draws a lighthouse, a boat and the sea between day and night."""
    dusk, night = between(0, 1, done["sunset"]), between(0, 1, done["moon"])
    top = blend(blend((90, 170, 240), (230, 120, 60), dusk), NAVY, night)
    canvas.sky(top, blend((220, 235, 250), (90, 50, 90), night))
    for i in range(12):
        canvas.disc(
            15 + 26 * i,
            8 + (i * 29) % 55,
            1.2,
            WHITE,
            night * (0.6 + 0.4 * float(np.sin(2 * t_s + i))),
        )
    canvas.disc(200, between(36, 140, done["sunset"]), 16, blend(YELLOW, ORANGE, dusk))
    canvas.disc(280, between(150, 34, done["moon"]), 12, (228, 230, 236), night)
    if done["lamp"] > 0:
        angle = 0.9 * t_s
        x, y = 52 + 220 * np.cos(angle), 58 + 60 * np.sin(angle) ** 2
        beam = [(52.0, 55.0), (x, y - 14), (x, y + 14), (52.0, 61.0)]
        canvas.polygon(beam if x > 52 else beam[::-1], YELLOW, 0.35 * done["lamp"])
    canvas.box(160, 150, 170, 34, blend((40, 110, 180), (20, 40, 90), 0.5 * dusk + 0.5 * night))
    for i in range(16):
        x = (i * 47 + 9 * t_s) % 330 - 5
        canvas.line(
            x,
            126 + (i * 17) % 50,
            x + 12,
            126 + (i * 17) % 50 + np.sin(t_s + i),
            1.3,
            (150, 190, 225),
        )
    canvas.polygon([(44, 62), (60, 62), (66, 132), (38, 132)], WHITE)
    canvas.box(52, 92, 10, 8, RED)
    canvas.box(52, 57, 8, 6, blend(GREY, YELLOW, done["lamp"]))
    canvas.oval(50, 136, 44, 10, (96, 90, 84))
    x, y = between(360, 170, done["boat"]), 134 + 2 * np.sin(1.6 * t_s)
    canvas.polygon([(x - 30, y), (x + 30, y), (x + 20, y + 13), (x - 22, y + 13)], WHITE)
    canvas.polygon([(x - 2, y - 42), (x + 22, y - 4), (x - 2, y - 4)], (235, 225, 200))
    if 0 < done["fish"] < 1:
        angle = np.pi * between(0, 1, done["fish"])
        canvas.oval(112 - 30 * np.cos(angle), 150 - 50 * np.sin(angle), 9, 4, (190, 205, 220))


GARDEN = Story(
    "garden",
    "en",
    (
        Event(
            "sunrise", "The sun climbs above the green hills, and the dark sky turns bright blue."
        ),
        Event(
            "ball", "A red ball rolls across the grass from the left and stops beside a tall tree."
        ),
        Event(
            "clouds", "Three white clouds drift into the picture and gather above the wooden house."
        ),
        Event(
            "rain",
            "Heavy rain falls from the clouds, and a large puddle spreads in front of the door.",
        ),
        Event(
            "rainbow",
            "The rain stops, the clouds float away, and a bright rainbow appears over the hills.",
        ),
        Event(
            "flower", "A yellow flower grows out of the ground until it is as tall as the window."
        ),
        Event(
            "bird", "A small black bird flies down from the sky and sits on the roof of the house."
        ),
        Event("jump", "The red ball jumps over the puddle and lands close to the yellow flower."),
        Event(
            "smoke",
            "White smoke rises from the chimney, and a warm light shines behind the window.",
        ),
        Event(
            "sunset", "The sun sinks behind the hills, and a silver moon appears among the stars."
        ),
    ),
    garden,
)
TABLE = Story(
    "table",
    "en",
    (
        Event(
            "square",
            "A small blue square slides in from the right and stops in the middle of the table.",
        ),
        Event(
            "grow", "The blue square grows and grows until it is twice as wide and twice as tall."
        ),
        Event(
            "triangle",
            "A green triangle drops down from above and lands on top of the blue square.",
        ),
        Event(
            "bounce",
            "Two orange circles roll toward each other, meet in the middle, and bounce apart.",
        ),
        Event(
            "turn", "The green triangle turns upside down and slowly changes its color to purple."
        ),
        Event(
            "line",
            "Someone draws a long yellow line from the left side of the table to the right side.",
        ),
        Event("melt", "The two orange circles melt together and become one large orange circle."),
        Event(
            "break",
            "The blue square breaks into four small pieces, and they slide into the corners.",
        ),
        Event(
            "star",
            "A white star spins around the orange circle and leaves a bright trail behind it.",
        ),
        Event(
            "fade", "Everything becomes smaller and smaller, and the wooden table is empty again."
        ),
    ),
    table,
)
HARBOUR = Story(
    "harbour_es",
    "es",
    (
        Event("boat", "Un barco blanco entra en el puerto y se acerca despacio al faro."),
        Event("sunset", "El sol baja hasta el mar y todo el cielo se vuelve de color naranja."),
        Event("lamp", "La luz del faro se enciende y gira lentamente sobre las olas."),
        Event("fish", "Un pez de plata salta fuera del agua muy cerca del barco."),
        Event("moon", "La luna sube por el cielo y las estrellas brillan sobre la casa."),
    ),
    harbour,
)
