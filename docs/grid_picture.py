"""Draws the score grid of a run as an SVG heat table: `python3 docs/grid_picture.py runs/quickstart/latest docs/quickstart.svg`."""

import csv
import json
import sys
from pathlib import Path

CELL, ROW, LEFT, TOP = 118, 40, 130, 78


def shade(value, low):
    """A colour from near white to blue: the lightest is a score no better than the baseline."""
    share = max(0.0, min(1.0, (value - low) / (1 - low)))
    light, deep = (240, 244, 248), (31, 97, 162)
    return "rgb(%d,%d,%d)" % tuple(round(a + (b - a) * share) for a, b in zip(light, deep)), share


def main(run, out):
    run = Path(run)
    rows = list(csv.reader((run / "grid.csv").open()))
    record = json.loads((run / "run.json").read_text())
    metric = record["metric"]
    baseline = next(r for r in record["results"] if r["features"] == "-" and r["model"] == "commonest")
    tested = baseline["n"]
    low = baseline["metrics"][metric]
    models, width = rows[0][1:], LEFT + CELL * len(rows[0][1:]) + 16
    height = TOP + ROW * (len(rows) - 1) + 44
    svg = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="15">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="16" y="28" font-size="16" font-weight="600" fill="#1b2733">{record["experiment"]}: {metric} on'
        f" {tested} held-out clips of {record['data']['name']}</text>",
    ]
    for m, model in enumerate(models):
        x = LEFT + CELL * m + CELL / 2
        svg.append(f'<text x="{x}" y="{TOP - 12}" text-anchor="middle" fill="#44525f">{model}</text>')
    for r, (feature, *cells) in enumerate(rows[1:]):
        y = TOP + ROW * r
        svg.append(f'<text x="{LEFT - 14}" y="{y + 25}" text-anchor="end" fill="#44525f">{feature}</text>')
        for m, cell in enumerate(cells):
            fill, share = shade(float(cell.split()[0]), low)
            ink = "#ffffff" if share > 0.45 else "#1b2733"
            x = LEFT + CELL * m
            svg.append(f'<rect x="{x + 1}" y="{y + 1}" width="{CELL - 2}" height="{ROW - 2}" rx="4" fill="{fill}"/>')
            svg.append(f'<text x="{x + CELL / 2}" y="{y + 25}" text-anchor="middle" fill="{ink}">{cell}</text>')
    svg.append(f'<text x="16" y="{height - 16}" font-size="13" fill="#44525f">always the most common class: {low:.3f}</text>')
    svg.append("</svg>")
    Path(out).write_text("\n".join(svg) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
