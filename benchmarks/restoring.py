"""Photographs restored by Narrows beside total variation, wavelets, non-local means and BM3D.

    python -m benchmarks.restoring levels --folder DATA
    python -m benchmarks.restoring classics --folder DATA [--pictures 20] [--levels 15 25 50]
    python -m benchmarks.restoring shipped --folder DATA
    python -m benchmarks.restoring folder --folder DATA [--epochs N]
    python -m benchmarks.restoring trained --folder DATA [--minutes 10]
    python -m benchmarks.restoring clean --folder DATA
    python -m benchmarks.restoring jpeg --folder DATA
    python -m benchmarks.restoring memory --folder DATA [--megapixels 100]

Judged are every tenth of the 200 photographs of DATA/photos/bsds-train, which no section learns
from; nor does any learn from the cuttings of DATA/photos/train400 that show one of them, found by
matching. Set12 and BSD68 are not used: what counts is the relation to BM3D on the same pictures.
Gaussian noise is added to pixels in 0..255 and, but for files, neither rounded nor clipped. PSNR is
the mean over pictures. Classics have the best of several weights for each picture; BM3D is told the
level. CPU-seconds are those of one thread, methods taking turns. Seed 0.

"levels" estimates the level of noise added to every fifth photograph, each of which has some of its
own, and the correlation of neighbours' noise. "classics" compares the classics. "shipped" is the
denoiser that comes with Narrows, as it is. "folder" is a newcomer's use: `narrows train FOLDER
--model denoising`, then `narrows denoise` on files with noise; of the folder's 340 photographs, in
grey and colours, every third has another size. "trained" is one model for all levels, learned from
grey photographs within so many CPU-minutes.
"clean" is `narrows denoise` on files with hardly any noise, or none. "jpeg" is the same on noisy
and clean photographs that were saved as JPEG files, beside total variation. "memory" is the same on
one large picture: the largest resident memory of the whole process, the picture's bytes subtracted.
"model, thorough" is the mean over a picture's eight orientations, as by `--thorough`.
BM3D takes part where `pip install bm3d` was run (its licence allows non-commercial use only).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.signal import fftconvolve

from benchmarks.measuring import SEED, compared, row, table
from narrows import DenoisingAutoencoder
from narrows.data.noise_level import estimate_noise, noise_correlation
from narrows.evaluation import BesideClassics, compare_with_clean, restore_by_classic
from narrows.evaluation.classics import installed_classics
from narrows.models.orientations import mean_over_orientations
from narrows.models.tiles import GRID

FIFTH, TENTH = 5, 10
THOROUGH = "model, thorough"
ALIKE = 0.89  # the correlation above which a cutting shows a picture
COARSE = 4  # by how much both are reduced before they are compared


def photographs(folder):
    """Return the files to learn from, and those to judge on."""
    files = sorted((folder / "photos" / "bsds-train").glob("*.jpg"))
    judged = files[::TENTH]
    return [file for file in files if file not in judged], judged


def pixels_of(file, mode):
    return np.asarray(Image.open(file).convert(mode), np.float32)


def cuttings(folder, judged):
    """Return the files of train400 that show no judged photograph, and the number of others."""
    files = sorted((folder / "photos" / "train400").glob("*.png"))
    pictures = [reduced(pixels_of(file, "L")) for file in judged]
    free = [
        file
        for file in files
        if max(correlation(picture, reduced(pixels_of(file, "L"))) for picture in pictures) < ALIKE
    ]
    return free, len(files) - len(free)


def reduced(picture):
    height, width = (side // COARSE for side in picture.shape)
    cut = picture[: height * COARSE, : width * COARSE].astype(np.float64)
    return cut.reshape(height, COARSE, width, COARSE).mean(axis=(1, 3))


def correlation(picture, cutting):
    """Return the largest correlation of a cutting with a part of a picture."""
    cutting = cutting - cutting.mean()
    ones, size = np.ones(cutting.shape), cutting.size
    sums, squares = (fftconvolve(of, ones, "valid") for of in (picture, picture**2))
    power = np.maximum(squares - sums**2 / size, 1e-9) * (cutting**2).sum()
    shared = fftconvolve(picture - picture.mean(), cutting[::-1, ::-1], "valid")
    return float((shared / np.sqrt(power)).max())


def with_noise(clean, level, number):
    noise = np.random.default_rng((SEED, number)).normal(0, level, clean.shape)
    return clean + noise.astype(np.float32)


def psnr(restored, clean):
    return compare_with_clean(restored[None], clean[None], 255, pictures=True).psnr


def ways_of(model):
    """Return the ways to restore a picture by a model."""

    def quick(noisy):
        return model.denoise(noisy[None])[0]

    return {"model": quick, THOROUGH: lambda noisy: mean_over_orientations(quick, noisy, GRID)}


def beside(pictures, levels, ways=None):
    """Print PSNR and time of all classics and of a model on pictures; return both by level."""
    ways = ways or {}
    names = [classic.name for classic in installed_classics()[0]]
    for name, remedy in installed_classics()[1].items():
        print(f"\n{name} is left out: {remedy}")
    table("level", "method", "PSNR, dB", "above noisy, dB", "CPU-seconds a megapixel")
    found = {}
    for level in levels:
        scores = {name: [] for name in ("noisy", *ways, *names)}
        seconds = dict.fromkeys(scores, 0.0)
        for number, clean in enumerate(pictures):
            noisy = with_noise(clean, level, number)
            scores["noisy"].append(psnr(noisy, clean))
            for name, restore in ways.items():
                start = time.process_time()
                restored = restore(noisy)
                seconds[name] += time.process_time() - start
                scores[name].append(psnr(restored.clip(0, 255), clean))
            for name in names:
                by = restore_by_classic(name, noisy, level, clean=clean)
                seconds[name] += by.seconds
                scores[name].append(psnr(by.pixels, clean))
        means = {name: float(np.mean(of)) for name, of in scores.items()}
        megapixels = sum(clean.shape[0] * clean.shape[1] for clean in pictures) / 1e6
        found[level] = means, {name: taken / megapixels for name, taken in seconds.items()}
        for name, mean in means.items():
            taken = "" if name == "noisy" else f"{found[level][1][name]:.3g}"
            row(level, name, f"{mean:.2f}", f"{mean - means['noisy']:.2f}", taken)
    return found


def relations(found, above):
    """Print how a model stands to BM3D, by level, and whether that is as good as it should be."""
    if not all("BM3D" in means for means, _ in found.values()):
        return
    table("what", "measured", "goal", "met")
    for level, (means, seconds) in found.items():
        for way in ("model", THOROUGH):
            gain, share = means[way] - means["BM3D"], seconds[way] / seconds["BM3D"]
            compared(f"{way}: dB above BM3D, level {level}", gain, above[level])
            compared(f"{way}: time beside BM3D's, level {level}", share, 1 / 3, at_most=True)


def levels(given):
    files = sorted((given.folder / "photos" / "bsds-train").glob("*.jpg"))[::FIFTH]
    table(
        "pixels",
        "level",
        "median estimate",
        "5 to 95 %",
        "median correlation",
        "seconds a megapixel",
    )
    for mode, name in (("L", "grey, 8 bits"), ("RGB", "colour, 8 bits")):
        pictures = [pixels_of(file, mode) for file in files]
        megapixels = sum(clean.shape[0] * clean.shape[1] for clean in pictures) / 1e6
        for level in (0, 1, 2, 3, 5, 10, 15, 25, 50):
            noisy = [with_noise(clean, level, number) for number, clean in enumerate(pictures)]
            noisy = [picture.round().clip(0, 255).astype(np.uint8) for picture in noisy]
            start = time.process_time()
            low, middle, high = np.quantile(
                [estimate_noise(one) for one in noisy], (0.05, 0.5, 0.95)
            )
            seconds = (time.process_time() - start) / megapixels
            shared = np.median([noise_correlation(one) for one in noisy[::FIFTH]])
            spread = f"{low:.2f} to {high:.2f}"
            row(name, level, f"{middle:.2f}", spread, f"{shared:.2f}", f"{seconds:.2f}")


def classics(given):
    _, judged = photographs(given.folder)
    for mode, name in (("L", "grey"), ("RGB", "colour")):
        print(f"\n{name}, {len(judged[: given.pictures])} pictures")
        beside([pixels_of(file, mode) for file in judged[: given.pictures]], given.levels)


def shipped(given):
    from narrows.builtin import denoiser

    _, judged = photographs(given.folder)
    for channels, mode, name in ((1, "L", "grey"), (3, "RGB", "colour")):
        model = denoiser(channels)
        pictures = [pixels_of(file, mode) for file in judged[: given.pictures]]
        print(f"\n{name}, {len(pictures)} pictures")
        found = beside(pictures, given.levels, ways_of(model))
        relations(found, dict.fromkeys(given.levels, 28.0 - 28.57))
        changes = [clean - model.denoise(clean[None])[0] for clean in pictures]
        change = np.mean([np.sqrt(np.mean(change**2)) for change in changes])
        print(f"\nclean pictures are changed by {change:.2f} of 255 (root mean square)")


def write_folder(folder, learned, cut):
    """Write photographs in grey and colours, of which every third has another size."""
    folder.mkdir()
    for number, file in enumerate([*learned, *cut]):
        picture = Image.open(file).convert("L" if number % 4 == 0 else "RGB")
        if number % 3 == 0:
            share = 0.6 + 0.05 * (number % 7)
            size = (round(share * picture.width), round(share * picture.height))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        picture.save(folder / f"{number:03}.png")


def narrows(*command):
    """Run the command line, and return its answer and the CPU-seconds that it took."""
    start = sum(os.times()[2:4])
    run = subprocess.run(
        [sys.executable, "-m", "narrows", *map(str, command), "--json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout), sum(os.times()[2:4]) - start


def folder(given):
    learned, judged = photographs(given.folder)
    cut, shown = cuttings(given.folder, judged)
    judged = judged[: given.pictures]
    print(f"\n{shown} of the 400 cuttings show a judged photograph and are left out")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_folder(work / "photographs", learned, cut[:160])
        count = len(learned) + len(cut[:160])
        (work / "noisy").mkdir()
        cleans = {}
        level = given.levels[len(given.levels) // 2]
        for number, file in enumerate(judged):
            cleans[f"{file.stem}.png"] = clean = pixels_of(file, "RGB")
            noisy = with_noise(clean, level, number).round().clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(work / "noisy" / f"{file.stem}.png")
        epochs = [] if given.epochs is None else ["--max-epochs", given.epochs]
        train = ["train", work / "photographs", "--model", "denoising", "-o", work / "model"]
        _, seconds = narrows(*train, *epochs)
        narrows("denoise", work / "model", work / "noisy", "-o", work / "restored")
        scored = BesideClassics()
        for name, clean in cleans.items():
            noisy, restored = (
                pixels_of(work / place / name, "RGB") for place in ("noisy", "restored")
            )
            scored.add(name, noisy, restored, clean)
    epochs = "its own number of" if given.epochs is None else given.epochs
    print(f"\ncolour, noise of {level} in files of 8 bits, {len(judged)} pictures")
    print(f"learned from {count} photographs in {epochs} epochs, {seconds:.0f} CPU-seconds")
    table("method", "PSNR, dB", "SSIM")
    for name, mean in scored.psnr.items():
        row(name, f"{mean:.2f}", f"{scored.ssim[name]:.3f}")
    rivals = [scored.psnr[name] for name in ("total variation", "wavelets") if name in scored.psnr]
    table("what", "measured", "goal", "met")
    best = max(rivals)
    compared("dB above the better of total variation and wavelets", scored.psnr["model"] - best, 1)


def trained(given):
    learned, judged = photographs(given.folder)
    cut, shown = cuttings(given.folder, judged)
    print(f"\n{shown} of the 400 cuttings show a judged photograph and are left out")
    settings = {"corruption": "gaussian", "corruption_level": (0.02, 0.22), "random_state": SEED}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for file in learned:
            Image.open(file).convert("L").save(work / f"{file.stem}.png")
        for file in cut[200 - len(judged) :]:  # the first ones show what is learned from anyway
            Image.open(file).convert("L").save(work / file.name)
        start = time.process_time()
        DenoisingAutoencoder(**settings, max_epochs=1).fit(work)
        epoch = time.process_time() - start
        epochs = max(1, int(60 * given.minutes / epoch))
        start = time.process_time()
        model = DenoisingAutoencoder(**settings, max_epochs=epochs).fit(work)
        seconds = time.process_time() - start
    pictures = [pixels_of(file, "L") for file in judged[: given.pictures]]
    print(f"\ntrained for {seconds:.0f} CPU-seconds, {epochs} epochs; {len(pictures)} pictures")
    found = beside(pictures, given.levels, ways_of(model))
    goals = {15: 31.1 - 31.07, 25: 28.5 - 28.57, 50: 25.6 - 25.62}
    relations(found, {level: goals.get(level, 0.0) for level in given.levels})


def write_noisy(files, work, mode, level):
    """Write photographs and their noisy versions, both in 8 bits, into two folders."""
    for place in ("original", "noisy"):
        (work / place).mkdir(parents=True)
    for number, file in enumerate(files):
        pixels = pixels_of(file, mode)
        noisy = with_noise(pixels, level, number).round().clip(0, 255)
        for place, shown in (("original", pixels), ("noisy", noisy)):
            Image.fromarray(shown.astype(np.uint8)).save(work / place / f"{file.stem}.png")


def clean(given):
    _, judged = photographs(given.folder)
    judged = judged[: given.pictures]
    print(f"\n{len(judged)} pictures in files of 8 bits, the denoisers that ship")
    table("pixels", "level", "change of PSNR, dB", "least", "changed by (root mean square)")
    found = {}
    for mode, name in (("L", "grey"), ("RGB", "colour")):
        for level in (0, 1, 2, 3, 5):
            with tempfile.TemporaryDirectory() as temporary:
                work = Path(temporary) / "pictures"
                write_noisy(judged, work, mode, level)
                told, _ = narrows("denoise", work / "noisy", "-o", work / "restored")
                scores = {
                    place: [
                        psnr(pixels_of(one, mode), pixels_of(work / "original" / one.name, mode))
                        for one in sorted((work / place).iterdir())
                    ]
                    for place in ("noisy", "restored")
                    if level
                }
            change = f"{told['rms_change']:.2f}"
            if not level:
                row(name, level, "", "", change)
                continue
            gains = np.subtract(scores["restored"], scores["noisy"])
            found[name, level] = gains.mean()
            row(name, level, f"{gains.mean():+.2f}", f"{gains.min():+.2f}", change)
    table("what", "measured", "goal", "met")
    for (name, level), gain in found.items():
        compared(f"dB gained, {name}, level {level}", gain, -0.1)


def jpeg(given):
    _, judged = photographs(given.folder)
    judged = judged[: given.pictures]
    print(f"\n{len(judged)} pictures, saved as JPEG files after noise, the denoisers that ship")
    heads = ("pixels", "quality", "level", "PSNR before, dB", "change, dB", "least", "changed")
    table(*heads, "total variation, best weight: change, dB")
    for mode, name in (("L", "grey"), ("RGB", "colour")):
        for quality in (20, 30, 40, 60, 90):
            for level in (0, 10, 25, 50):
                row(name, quality, level, *of_jpeg(judged, mode, quality, level))


def of_jpeg(files, mode, quality, level):
    """Return PSNR before, its mean and least change, the share of files changed, and TV's."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        write_noisy(files, work, mode, level)
        (work / "jpeg").mkdir()
        for file in (work / "noisy").iterdir():
            Image.open(file).save(work / "jpeg" / f"{file.stem}.jpg", quality=quality)
        for file in (work / "jpeg").iterdir():  # as PNG, so that only the first saving counts
            Image.open(file).save(work / "noisy" / f"{file.stem}.png")
        narrows("denoise", work / "noisy", "-o", work / "restored")
        before, after, classic = [], [], []
        for file in sorted((work / "noisy").iterdir()):
            original = pixels_of(work / "original" / file.name, mode)
            given = pixels_of(file, mode)
            before.append(psnr(given, original))
            after.append(psnr(pixels_of(work / "restored" / file.name, mode), original))
            best = restore_by_classic("total variation", given, max(level, 3), clean=original)
            classic.append(psnr(best.pixels, original))
    gains = np.subtract(after, before)
    return (
        f"{np.mean(before):.2f}",
        f"{gains.mean():+.2f}",
        f"{gains.min():+.2f}",
        f"{np.mean(gains != 0):.0%}",
        f"{np.mean(np.subtract(classic, before)):+.2f}",
    )


def memory(given):
    files = [pixels_of(file, "RGB") for file in photographs(given.folder)[1]]
    side = round((given.megapixels * 1e6) ** 0.5)
    table("pixels", "megapixels", "CPU-seconds", "largest resident memory above the picture, MB")
    found = {}
    for channels, name in ((1, "grey"), (3, "colour")):
        tile = max(files, key=lambda pixels: pixels.size)[..., :channels].squeeze()
        noisy = with_noise(tile, 25, 0).round().clip(0, 255).astype(np.uint8)
        repeats = [-(-side // n) for n in noisy.shape[:2]] + [1] * (noisy.ndim - 2)
        large = np.tile(noisy, repeats)[:side, :side]
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary) / "large.png"
            Image.fromarray(large).save(file, compress_level=1)
            size, seconds = large.nbytes, sum(os.times()[2:4])
            del large
            peak = memory_of(
                "denoise", file, "-o", file.with_name("restored.png"), "--max-pixels", 2 * side**2
            )
        seconds = sum(os.times()[2:4]) - seconds
        found[name] = (peak - size) / 1e6
        row(name, f"{side**2 / 1e6:.0f}", f"{seconds:.0f}", f"{found[name]:.0f}")
    table("what", "measured", "goal", "met")
    for name, above in found.items():
        compared(f"MB above the picture, {name}", above, 1000, at_most=True)


def memory_of(*command):
    """Run the command line, and return the largest resident memory of its process in bytes."""
    run = [sys.executable, "-c", RUN_AND_TELL, *map(str, command), "--json"]
    told = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=True).stdout
    return 1024 * int(told.splitlines()[-1])


# Linux hands a process its parent's ru_maxrss; VmHWM is its own.
RUN_AND_TELL = r"""
import re, sys
from pathlib import Path
from narrows.cli.main import main
if status := main(sys.argv[1:]):
    sys.exit(status)
print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


SECTIONS = {
    "levels": levels,
    "classics": classics,
    "shipped": shipped,
    "folder": folder,
    "trained": trained,
    "clean": clean,
    "jpeg": jpeg,
    "memory": memory,
}


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.restoring", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("sections", nargs="*", metavar="section")
    parser.add_argument("--folder", type=Path, required=True, help="where photos/ lies")
    parser.add_argument("--pictures", type=int, default=20, help="how many are judged at most")
    parser.add_argument("--levels", type=int, nargs="+", default=[15, 25, 50])
    parser.add_argument("--epochs", type=int, help='of "folder"; by default those of the command')
    parser.add_argument("--minutes", type=float, default=10, help='of "trained"')
    parser.add_argument("--megapixels", type=float, default=100, help='of "memory"')
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.sections or SECTIONS:
        if name not in SECTIONS:
            parser.error(f"there is no section {name!r}; give some of {', '.join(SECTIONS)}")
        SECTIONS[name](given)


if __name__ == "__main__":
    main()
