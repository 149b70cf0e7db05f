"""Scanned pages cleaned by a model of pairs, beside classic denoisers and Sauvola's threshold.

    python -m benchmarks.documents [--pages 24] [--epochs 3] [--judged 6] [--figure FILE.png]

Pages of text, tables and drawings, of 400 x 300 to 800 x 600 pixels, are generated, and scanned:
ink shows through from the back, light is uneven, paper has texture and stains, the scanner blurs,
adds noise, salt and pepper, and writes JPEG. A model learns from pairs of such scans and their
pages by `narrows train SCANS --clean PAGES --model denoising`, and cleans others by `narrows
denoise`. Beside it stand, each at the settings that are best for each page, which the clean page
tells: total variation, wavelets and non-local means at 4 levels of noise and all of their weights,
a median, the threshold of Sauvola & Pietikäinen (2000), the division by the background (a grey
closing, smoothed), and the same followed by total variation. CPU-seconds are those of one thread
and one run. --figure draws parts of the first two pages, enlarged twice. Seed 0.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, grey_closing, median_filter

from benchmarks.measuring import SEED, compared, row, table
from benchmarks.restoring import narrows
from narrows.evaluation import compare_with_clean, restore_by_classic
from narrows.texts import counted

NOISES = (5, 10, 20, 40)
TEXT = """
The quick brown fox jumps over a lazy dog while seven wizards, Max and Zoe, pack my box with five
dozen liquor jugs; in 1987 (or 1936?) the vexed judge quoted 24.50 for each of 60 extra journals:
Volume III, Part B. How far can Kerry, Una & Ruth go by X-ray? Yes! Good Evening Licence No. 38/7;
Pages 125 to 140, Queen Street 9, Oslo. Net total = 1042
"""
WORDS = TEXT.split()
INK = {"rectangle": "outline", "ellipse": "outline", "line": "fill"}


def page(rng):
    """Draw a page: titles, paragraphs, tables, and rows of boxes, ellipses and lines."""
    width, height = int(rng.integers(400, 801)), int(rng.integers(300, 601))
    image = Image.new("L", (width, height), 255)
    draw, margin = ImageDraw.Draw(image), int(rng.integers(20, 50))
    y = margin
    while y < height - margin:
        kind = rng.choice(["title", "text", "text", "table", "drawing"])
        if kind == "drawing":
            bottom = min(height - margin, y + int(rng.integers(50, 110)))
            for x in range(margin, width - margin - 60, 70):
                box = [x, y, x + int(rng.integers(40, 60)), max(y + 2, bottom)]
                shape = (draw.rectangle, draw.ellipse, draw.line)[rng.integers(3)]
                shape(box, width=int(rng.integers(1, 4)), **{INK[shape.__name__]: 0})
            y = bottom + 15
            continue
        size = int(rng.integers(22, 34) if kind == "title" else rng.integers(11, 19))
        font, ink = ImageFont.load_default(size), int(rng.integers(0, 60))
        for _ in range(1 if kind == "title" else int(rng.integers(3, 8))):
            if y + size > height - margin:
                break
            line = WORDS[rng.integers(len(WORDS))]
            while draw.textlength(f"{line} {WORDS[0]}", font) < width - 2.5 * margin:
                line += " " + WORDS[rng.integers(len(WORDS))]
            draw.text((margin, y), line, fill=ink, font=font)
            y += round(1.35 * size)
            if kind == "table":
                draw.line([margin, y - 2, width - margin, y - 2], fill=ink)
        y += size
    return np.asarray(image)


def smooth(rng, shape, extent):
    field = gaussian_filter(rng.normal(size=shape), extent, mode="wrap")
    return field / field.std()


def scan(clean, behind, rng):
    """Scan a page that has another one on its back."""
    height, width = clean.shape
    y, x = np.mgrid[:height, :width]
    back = np.ones(clean.shape)
    seen = behind[:height, :width][:, ::-1] / 255
    back[: len(seen), : seen.shape[1]] = seen
    pixels = clean / 255 * (1 - rng.uniform(0, 0.2) * (1 - gaussian_filter(back, 1.5)))
    pixels = gaussian_filter(pixels, rng.uniform(0.4, 0.9))
    texture = 0.02 * smooth(rng, clean.shape, 1.2) + 0.02 * smooth(rng, clean.shape, 6)
    light = rng.uniform(0.8, 0.97) * (1 + texture)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * x + np.sin(angle) * y
    light *= 1 - rng.uniform(0.1, 0.45) * ((ramp - ramp.min()) / np.ptp(ramp)) ** 1.5
    for _ in range(rng.integers(0, 4)):  # stains, darker along their rims
        away = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width))
        away += 4 * smooth(rng, clean.shape, 12) - rng.uniform(20, 80)
        light *= 1 - rng.uniform(0.05, 0.2) / (1 + np.exp(np.clip(away / 2.5, -50, 50)))
        light *= 1 - rng.uniform(0, 0.15) * np.exp(-((away / 3) ** 2))
    pixels = (0.08 + 0.92 * pixels) * light + rng.normal(0, rng.uniform(0.01, 0.05), clean.shape)
    chance, share = rng.random(clean.shape), rng.uniform(0, 0.005)
    pixels[chance < share], pixels[chance > 1 - share] = 0, 1
    file = io.BytesIO()
    image = Image.fromarray((255 * pixels).round().clip(0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=int(rng.integers(40, 85)))
    return np.asarray(Image.open(file))


def write(folder, count, seed):
    """Write pages and their scans; return both by name."""
    rng = np.random.default_rng((SEED, seed))
    pages = [page(rng) for _ in range(count)]
    written = {}
    for number, clean in enumerate(pages):
        pair = scan(clean, pages[(number + 1) % count], rng), clean
        name = f"page{number:02}.png"
        for kind, pixels in zip(("scans", "pages"), pair, strict=True):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / kind / name)
        written[name] = tuple(pixels.astype(np.float64) for pixels in pair)
    return written


def without_background(dirty, side):
    background = gaussian_filter(grey_closing(dirty, (side, side)), side / 2)
    return np.clip(255 * dirty / np.maximum(background, 1), 0, 255)


def by_sauvola(dirty, side, k):
    from skimage.filters import threshold_sauvola

    return 255.0 * (dirty > threshold_sauvola(dirty, side, k, r=128))


def by_classics(dirty, clean):
    """Return the pixels of each classic at its best, and the CPU-seconds of that run."""

    def best(ways):
        tried = []
        for way in ways:
            start = time.process_time()
            pixels = way()
            tried.append((np.square(pixels - clean).mean(), time.process_time() - start, pixels))
        _, seconds, pixels = min(tried, key=lambda one: one[0])
        return pixels, seconds

    def of_library(name, pixels):
        runs = [restore_by_classic(name, pixels, noise, clean=clean) for noise in NOISES]
        found = min(runs, key=lambda one: np.square(one.pixels - clean).mean())
        return found.pixels, found.seconds

    names = ("total variation", "wavelets", "non-local means")
    found = {name: of_library(name, dirty) for name in names}
    found["median"] = best([lambda n=n: median_filter(dirty, n) for n in (3, 5)])
    found["Sauvola's threshold"] = best(
        [lambda n=n, k=k: by_sauvola(dirty, n, k) for n in (15, 25, 41) for k in (0.05, 0.1, 0.2)]
    )
    divided = best([lambda n=n: without_background(dirty, n) for n in (9, 15, 25)])
    found["background divided out"] = divided
    pixels, seconds = of_library("total variation", divided[0])
    found["the same, then total variation"] = pixels, divided[1] + seconds
    return found


def draw(path, parts):
    """Draw a part of pages: scanned, by the model, by the best classic, and clean."""
    lines = []
    for versions in parts:
        height, width = versions[0].shape
        y, x = height // 8, width // 8
        cut = [pixels[y : y + 110, x : x + 200] for pixels in versions]
        lines.append(np.hstack([np.pad(one, 2, constant_values=128) for one in cut]))
    image = Image.fromarray(np.vstack(lines).round().clip(0, 255).astype(np.uint8))
    image.resize((2 * image.width, 2 * image.height), Image.Resampling.NEAREST).save(path)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.documents", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--pages", type=int, default=24, help="how many are learned from")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--judged", type=int, default=6, help="how many are cleaned")
    parser.add_argument("--figure", type=Path, metavar="FILE.png")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write(work / "learned", given.pages, 1)
        judged = write(work / "judged", given.judged, 2)
        learned = [work / "learned" / kind for kind in ("scans", "pages")]
        train = ["train", learned[0], "--clean", learned[1], "--model", "denoising"]
        train += ["--max-epochs", given.epochs, "--random-state", SEED, "-o", work / "model"]
        answered, seconds = narrows(*train)
        _, taken = narrows(
            "denoise", work / "model", work / "judged" / "scans", "-o", work / "restored"
        )
        restored = {
            name: np.asarray(Image.open(work / "restored" / name), np.float64) for name in judged
        }
    of = f"{answered['rows']} crops of {counted(given.pages, 'page')}"
    print(f"\nlearned from {of} in {given.epochs} epochs, {seconds:.0f} CPU-seconds")
    scores, parts = {}, []
    for name, (dirty, clean) in judged.items():
        found = {"scanned": (dirty, 0), "model": (restored[name], taken / given.judged)}
        found |= by_classics(dirty, clean)
        for method, (pixels, spent) in found.items():
            alike = compare_with_clean(pixels[None], clean[None], 255, pictures=True)
            scores.setdefault(method, []).append((alike.psnr, alike.ssim, spent))
        parts.append({method: pixels for method, (pixels, _) in found.items()} | {"clean": clean})
    means = {method: np.mean(of, axis=0) for method, of in scores.items()}
    table("method", "PSNR, dB", "SSIM", "CPU-seconds a page")
    for method, (psnr, ssim, spent) in means.items():
        row(method, f"{psnr:.2f}", f"{ssim:.3f}", f"{spent:.2g}" if spent else "")
    classics = [method for method in means if method not in ("scanned", "model")]
    best = max(classics, key=lambda method: means[method][0])
    table("what", "measured", "goal", "met")
    compared(f"dB above {best}", means["model"][0] - means[best][0], 0)
    most_alike = max(means[method][1] for method in classics)
    compared("SSIM above the best classic's", means["model"][1] - most_alike, 0)
    if given.figure is not None:
        shown = ("scanned", "model", best, "clean")
        draw(given.figure, [[versions[name] for name in shown] for versions in parts[:2]])


if __name__ == "__main__":
    main()
