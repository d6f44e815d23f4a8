"""The learning curve of a run as a small SVG, which every browser shows: loss, and accuracy where it was measured."""

from collections.abc import Mapping, Sequence
from html import escape

WIDTH_PX, HEIGHT_PX, MARGIN_PX = 640, 320, 48
_LOSS, _ACCURACY = "#1f6feb", "#d1242f"


def curve_svg(title: str, log: Sequence[Mapping[str, object]]) -> str:
    """The lines of a run's log as two curves over the steps, each on a scale of its own.

    Args:
        title: what stands above.
        log: lines with `step`, `loss` and `validation`, which may be None.
    """
    losses = _points(log, "loss")
    accuracies = _points(log, "validation")
    last_step = max((step for step, _ in losses), default=1.0)
    parts = [_curve(losses, last_step, _LOSS), _curve(accuracies, last_step, _ACCURACY)]
    legend = f"loss{_range(losses)}", f"accuracy %{_range(accuracies)}" if accuracies else ""
    bottom = HEIGHT_PX - MARGIN_PX
    body = [
        f"<title>Learning curve of {escape(title)}</title>",
        f'<rect width="{WIDTH_PX}" height="{HEIGHT_PX}" fill="white"/>',
        f'<path d="M{MARGIN_PX} {MARGIN_PX}V{bottom}H{WIDTH_PX - MARGIN_PX}" fill="none" stroke="#888"/>',
        *parts,
        f'<text x="{MARGIN_PX}" y="20">{escape(title)}</text>',
        f'<text x="{MARGIN_PX}" y="38" fill="{_LOSS}">{legend[0]}</text>',
        f'<text x="{WIDTH_PX // 2}" y="38" fill="{_ACCURACY}">{legend[1]}</text>',
        f'<text x="{WIDTH_PX - MARGIN_PX}" y="{bottom + 20}" text-anchor="end">step {last_step:.0f}</text>',
    ]
    size = f'viewBox="0 0 {WIDTH_PX} {HEIGHT_PX}" font-family="sans-serif" font-size="13"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *body, "</svg>\n"])


def _points(log: Sequence[Mapping[str, object]], key: str) -> list[tuple[float, float]]:
    pairs = [(line["step"], line[key]) for line in log]
    return [(float(step), float(value)) for step, value in pairs if isinstance(step, int) and isinstance(value, float)]


def _range(points: Sequence[tuple[float, float]]) -> str:
    values = [value for _, value in points]
    return f" {min(values):.3g} to {max(values):.3g}, last {values[-1]:.3g}" if values else ""


def _curve(points: Sequence[tuple[float, float]], last_step: float, colour: str) -> str:
    """A polyline between the lowest value at the bottom and the highest at the top."""
    values = [value for _, value in points]
    lowest, span = min(values, default=0.0), (max(values, default=0.0) - min(values, default=0.0)) or 1.0
    across, down = WIDTH_PX - 2 * MARGIN_PX, HEIGHT_PX - 2 * MARGIN_PX
    places = " ".join(
        f"{MARGIN_PX + across * step / last_step:.1f},{MARGIN_PX + down * (1 - (value - lowest) / span):.1f}"
        for step, value in points
    )
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
