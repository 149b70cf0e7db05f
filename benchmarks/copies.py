"""How many copies of photographs are found, by what was done to them, and what else is.

    python -m benchmarks.copies recall --folder DATA [--half 0]
    python -m benchmarks.copies judges --folder DATA [--pairs 50]
    python -m benchmarks.copies alike --folder DATA [--pictures 10000] [--page FOLDER]
    python -m benchmarks.copies time --folder DATA

recall: DATA/photos/bsds-train, every second photograph (the other half, --half 0, is what limits
were chosen on), beside one copy of each; recall is the share of photographs that are in one group
with their copy, "named" the share of these whose kind is named, "wrong" the number of pairs of
different photographs that are found. Peers are the hashes of ImageHash, if it is installed: at 10
of 64 bits, with the pairs that are wrong, and at the largest threshold without a wrong pair.
judges: the same pairs, each by itself, beside local features: SIFT and ORB of OpenCV
(`pip install opencv-python-headless`), both of the picture and of its mirror image, by the number
of matches (nearest at most 0.75 of the next) that one affine map explains (RANSAC, 3 pixels). Their
limit is the least at which no photograph of the other half is a copy of the one that the shipped
matcher finds nearest to it.
alike: what is found among pictures of CIFAR-10 and Fashion-MNIST, none of which was planted; the
page shows all of it. time: processor time for 300 photographs, 60 of them copies, beside pHash's,
and for more and more pictures.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from io import BytesIO
from math import cos, radians, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from narrows import builtin, datasets
from narrows.copies import find_copies
from narrows.library import ExactIndex

SEED = 0
USUAL = 10  # bits of 64 by which hashes of copies may differ
TURN = Image.Transpose


def noise(image, random):
    pixels = np.asarray(image, float)
    noisy = pixels + random.normal(0, 15, pixels.shape)
    return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))


def crop(share):
    def cropped(image, _):
        x, y = round(share * image.width), round(share * image.height)
        return image.crop((x, y, image.width - x, image.height - y))

    return cropped


def part(share):
    def somewhere(image, random):
        width, height = round(share * image.width), round(share * image.height)
        x = int(random.integers(image.width - width + 1))
        y = int(random.integers(image.height - height + 1))
        return image.crop((x, y, x + width, y + height))

    return somewhere


def border(color):
    return lambda image, _: ImageOps.expand(
        image, (round(0.08 * image.width), round(0.08 * image.height)), fill=color
    )


def caption(image, _):
    image, height = image.copy(), round(0.1 * image.height)
    draw = ImageDraw.Draw(image)
    top = image.height - height
    draw.rectangle((0, top, image.width, image.height), fill="black")
    font = ImageFont.load_default(0.6 * height)
    draw.text((8, top + 4), "A caption below the picture, 2026", fill="white", font=font)
    return image


def logo(image, random):
    image, side = image.copy(), round(0.32 * min(image.size))
    draw = ImageDraw.Draw(image)
    x = image.width - side - 5
    draw.ellipse((x, 5, x + side, 5 + side), fill=tuple(random.integers(0, 255, 3).tolist()))
    font = ImageFont.load_default(0.25 * side)
    draw.text((x + 0.2 * side, 5 + 0.3 * side), "LOGO", fill="white", font=font)
    return image


def turned_within(image, _):
    """Turn by 5 degrees, and keep the largest part without corners that is not stretched."""
    angle, (width, height) = radians(5), image.size
    ratio = max(height / width, width / height)
    share = 1 / (cos(angle) + ratio * sin(angle))
    across, down = round(share * width), round(share * height)
    x, y = (width - across) // 2, (height - down) // 2
    turned = image.rotate(5, Image.Resampling.BICUBIC)
    return turned.crop((x, y, x + across, y + down))


def smaller(image, factor=4):
    return image.resize((image.width // factor, image.height // factor))


# What is done to a photograph, the quality of the JPEG, and what the kind is called.
KINDS = {
    "resized to a quarter": (lambda image, _: smaller(image), 90, "resized"),
    "JPEG 20": (lambda image, _: image, 20, "recompressed"),
    "brighter by 40 %": (lambda image, _: ImageEnhance.Brightness(image).enhance(1.4), 90,
                         "brighter"),
    "darker by 40 %": (lambda image, _: ImageEnhance.Brightness(image).enhance(0.6), 90, "darker"),
    "contrast x 1.5": (lambda image, _: ImageEnhance.Contrast(image).enhance(1.5), 90, "contrast"),
    "contrast x 0.5": (lambda image, _: ImageEnhance.Contrast(image).enhance(0.5), 90, "contrast"),
    "grey": (lambda image, _: image.convert("L"), 90, "grey"),
    "noise of 15 levels": (noise, 90, "recompressed"),
    "white border of 8 %": (border("white"), 90, "bordered"),
    "black border of 8 %": (border("black"), 90, "bordered"),
    "cropped by 5 % a side": (crop(0.05), 90, "cropped"),
    "cropped by 10 % a side": (crop(0.1), 90, "cropped"),
    "cropped by 20 % a side": (crop(0.2), 90, "cropped"),
    "0.7 of the sides, anywhere": (part(0.7), 90, "cropped"),
    "0.6 of the sides, anywhere": (part(0.6), 90, "cropped"),
    "mirrored": (lambda image, _: image.transpose(TURN.FLIP_LEFT_RIGHT), 90, "mirrored"),
    "top to bottom": (lambda image, _: image.transpose(TURN.FLIP_TOP_BOTTOM), 90, "mirrored"),
    "rotated by 90 degrees": (lambda image, _: image.transpose(TURN.ROTATE_90), 90, "rotated"),
    "rotated by 180 degrees": (lambda image, _: image.transpose(TURN.ROTATE_180), 90, "rotated"),
    "rotated by 270 degrees": (lambda image, _: image.transpose(TURN.ROTATE_270), 90, "rotated"),
    "turned by 5 degrees": (lambda image, _: image.rotate(5, Image.Resampling.BICUBIC), 90,
                            "turned"),
    "turned by 5 degrees, cropped": (turned_within, 90, "turned"),
    "turned by 5 degrees, corners added": (
        lambda image, _: image.rotate(5, Image.Resampling.BICUBIC, expand=True), 90, "turned"),
    "caption over 10 %": (caption, 90, "overlaid"),
    "logo over 5 %": (logo, 90, "overlaid"),
    "mirrored, cropped by 10 %": (
        lambda image, _: crop(0.1)(image.transpose(TURN.FLIP_LEFT_RIGHT), _), 90, "mirrored"),
    "cropped by 5 %, third of the size, JPEG 50": (
        lambda image, _: smaller(crop(0.05)(image, _), 3), 50, "cropped"),
}  # fmt: skip


def plant(photos, kind, folder, *, every=1):
    """Copy photographs into a folder, with a changed copy of every so many."""
    change, quality, _ = KINDS[kind]
    for number, photo in enumerate(photos):
        (folder / f"{number:04}.jpg").write_bytes(photo.read_bytes())
        if number % every == 0:
            with Image.open(photo) as image:
                random = np.random.default_rng([SEED, number])
                changed = change(image.convert("RGB"), random)
            changed.save(folder / f"{number:04} copy.jpg", quality=quality)


def ours(folder, name):
    """Return the photographs found with their copies, those named, and the wrong pairs."""
    found = find_copies(folder)
    hits, named, wrong = set(), set(), 0
    for group in found.groups:
        pictures = [group.keep, *(copy.picture for copy in group.copies)]
        numbers = [picture.name[:4] for picture in pictures]
        wrong += sum(number != numbers[0] for number in numbers[1:])
        twice = {number for number in numbers if numbers.count(number) > 1}
        hits |= twice
        # The larger one is kept, which may be the copy.
        named |= {
            n
            for c in group.copies
            if (n := c.picture.name[:4]) in twice
            and {name, *(["shows more"] if name == "cropped" else [])} & {*c.change.kinds}
        }
    return hits, named, wrong


def hashes(folder):
    """Return, by hash, a function of the most bits: photographs found, and wrong pairs."""
    import imagehash

    files = sorted(folder.iterdir())
    numbers = np.array([int(file.name[:4]) for file in files])
    first, second = np.triu_indices(len(files), 1)
    same = numbers[first] == numbers[second]
    for name in ("phash", "dhash", "whash"):
        made = []
        for file in files:
            with Image.open(file) as image:
                made.append(getattr(imagehash, name)(image).hash.ravel())
        bits = np.array(made, np.float32)
        apart = (bits @ (1 - bits).T + (1 - bits) @ bits.T)[first, second]
        yield apart[same], np.sort(apart[~same])


def recall(given):
    photos = sorted((given.folder / "photos" / "bsds-train").glob("*.jpg"))[given.half :: 2]
    peers = has_imagehash()
    print(f"{len(photos)} photographs and one copy of each, half {given.half}, seed {SEED}\n")
    heads = ["recall", "named", "wrong"]
    for name in ("pHash", "dHash", "wHash") if peers else ():
        heads += [f"{name} at {USUAL}", "wrong", f"{name}, none wrong"]
    print(f"| copies | {' | '.join(heads)} |\n|{' --- |' * (len(heads) + 1)}", flush=True)
    for kind in given.kinds or KINDS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            plant(photos, kind, folder)
            hits, named, wrong = ours(folder, KINDS[kind][2])
            cells = [f"{len(hits) / len(photos):.3f}", f"{len(named) / max(1, len(hits)):.2f}",
                     str(wrong)]  # fmt: skip
            for right, others in hashes(folder) if peers else ():
                cells += [f"{(right <= USUAL).mean():.3f}", str((others <= USUAL).sum()),
                          f"{(right < others[0]).mean():.3f}"]  # fmt: skip
        print(f"| {kind} | {' | '.join(cells)} |", flush=True)


def features(name):
    """Return a function of two pictures: the matches that one affine map explains."""
    import cv2

    cv2.setNumThreads(1)
    finder = cv2.SIFT_create() if name == "SIFT" else cv2.ORB_create(1000)
    matcher = cv2.BFMatcher(cv2.NORM_L2 if name == "SIFT" else cv2.NORM_HAMMING)

    def explained(one, other):
        best = 0
        found, its = finder.detectAndCompute(np.asarray(other.convert("L")), None)
        for shown in (one, one.transpose(TURN.FLIP_LEFT_RIGHT)):
            points, own = finder.detectAndCompute(np.asarray(shown.convert("L")), None)
            if own is None or its is None or len(its) < 2:
                continue
            near = [pair for pair in matcher.knnMatch(own, its, k=2) if len(pair) == 2]
            near = [a for a, b in near if a.distance < 0.75 * b.distance]
            if len(near) < 3:
                continue
            ends = [
                np.float32([p[i].pt for i in rows])
                for p, rows in (
                    (points, [m.queryIdx for m in near]), (found, [m.trainIdx for m in near]),
                )
            ]  # fmt: skip
            cv2.setRNGSeed(SEED)
            inside = cv2.estimateAffine2D(*ends, ransacReprojThreshold=3)[1]
            best = max(best, 0 if inside is None else int(inside.sum()))
        return best

    return explained


def by_us(one, other):
    """Return 1 if the two pictures are found to be copies, and 0 otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        for name, image in (("a", one), ("b", other)):
            image.save(Path(folder) / f"{name}.bmp")
        return len(find_copies(folder).groups)


def judges(given):
    files = sorted((given.folder / "photos" / "bsds-train").glob("*.jpg"))
    halves = [[Image.open(file).convert("RGB") for file in files[half::2]] for half in (0, 1)]
    ways = {"ours": by_us, "SIFT": features("SIFT"), "ORB": features("ORB")}
    near = [nearest_others(photos) for photos in halves]
    limits = {
        name: 1 + max(way(*pair) for pair in near[0]) if name != "ours" else 1
        for name, way in ways.items()
    }
    print(f"least matches of a copy: {limits['SIFT']} of SIFT, {limits['ORB']} of ORB\n")
    print("| pairs | ours | SIFT | ORB |\n| --- | --- | --- | --- |", flush=True)
    took, count = dict.fromkeys(ways, 0.0), 0

    def shares(pairs):
        nonlocal count
        count += len(pairs)
        found = dict.fromkeys(ways, 0)
        for pair in pairs:
            for name, way in ways.items():
                start = time.process_time()
                found[name] += way(*pair) >= limits[name]
                took[name] += time.process_time() - start
        return " | ".join(f"{found[name] / len(pairs):.3f}" for name in ways)

    for kind in given.kinds or KINDS:
        change, quality, _ = KINDS[kind]
        pairs = []
        for number, photo in enumerate(halves[1][: given.pairs]):
            file = BytesIO()
            random = np.random.default_rng([SEED, number])
            change(photo, random).save(file, "JPEG", quality=quality)
            pairs.append((photo, Image.open(file).convert("RGB")))
        print(f"| {kind} | {shares(pairs)} |", flush=True)
    print(f"| different photographs, the nearest | {shares(near[1])} |")
    cells = " | ".join(f"{1e3 * took[name] / count:.0f}" for name in ways)
    print(f"| CPU-milliseconds a pair | {cells} |")


def nearest_others(photos):
    """Return each photograph with the one that the shipped matcher finds nearest to it."""
    matcher = builtin.matcher()
    shape = matcher.sample_shape_
    codes = matcher.transform(
        np.stack([np.asarray(photo.resize(shape[1::-1], Image.Resampling.BOX)) for photo in photos])
    )
    found = ExactIndex(codes, "cosine").search(codes, 2)[1][:, 1]
    return [(photo, photos[other]) for photo, other in zip(photos, found, strict=True)]


def alike(given):
    print(f"seed {SEED}\n\n| pictures of | groups | pictures in them | ms a picture |")
    print("| --- | --- | --- | --- |", flush=True)
    for name in ("cifar-10", "fashion-mnist"):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            X = datasets.load(name, given.folder / name).X_train[: given.pictures]
            for number, picture in enumerate(X):
                Image.fromarray(picture).save(folder / f"{number:05}.png")
            start = time.process_time()
            found = find_copies(folder)
            took = (time.process_time() - start) / len(X) * 1e3
            if given.page:
                page = given.page / f"{name}.html"
                command = [sys.executable, "-m", "narrows", "duplicates", folder, "-o", page]
                subprocess.run([*command, "--overwrite"], check=True)
        count = sum(len(group.copies) + 1 for group in found.groups)
        print(f"| {len(X)} of {name} | {len(found.groups)} | {count} | {took:.1f} |", flush=True)


def timed(given):
    photos = sorted((given.folder / "photos" / "bsds-train").glob("*.jpg"))
    more = sorted((given.folder / "photos" / "train400").iterdir())
    kinds = list(KINDS)[:10]
    print("| 300 photographs, 60 of them copies | processor seconds | times pHash |")
    print("| --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        chosen = [*photos, *more][:240]
        for number, photo in enumerate(chosen):
            (folder / f"{number:04}{photo.suffix}").write_bytes(photo.read_bytes())
            if number % 4 == 0:
                change, quality, _ = KINDS[kinds[number // 4 % len(kinds)]]
                with Image.open(photo) as image:
                    made = change(image.convert("RGB"), np.random.default_rng([SEED, number]))
                made.save(folder / f"{number:04} copy.jpg", quality=quality)
        take = min(seconds(lambda: phash(folder)) for _ in range(given.rounds))
        print(f"| pHash | {take:.2f} | 1 |", flush=True)
        state = folder.parent / f"{folder.name}.state"
        own = min(seconds(lambda: find_copies(folder)) for _ in range(given.rounds))
        print(f"| ours | {own:.2f} | {own / take:.2f} |", flush=True)
        find_copies(folder, state=state)
        again = min(seconds(lambda: find_copies(folder, state=state)) for _ in range(given.rounds))
        state.unlink()
        print(f"| ours, all known from an earlier scan | {again:.2f} | {again / take:.2f} |")
    print("\n| pictures of CIFAR-10 | processor ms a picture |\n| --- | --- |", flush=True)
    X = datasets.load("cifar-10", given.folder / "cifar-10").X_train
    for count in given.counts:
        with tempfile.TemporaryDirectory() as temporary:
            for number, picture in enumerate(X[:count]):
                Image.fromarray(picture).save(Path(temporary) / f"{number:05}.png")
            took = seconds(lambda folder=temporary: find_copies(folder))
        print(f"| {count} | {took / count * 1e3:.1f} |", flush=True)


def phash(folder):
    import imagehash

    made = []
    for file in sorted(folder.iterdir()):
        with Image.open(file) as image:
            made.append(imagehash.phash(image))
    return [(a, b) for a in range(len(made)) for b in range(a) if made[a] - made[b] <= USUAL]


def seconds(act):
    start = time.process_time()
    act()
    return time.process_time() - start


def has_imagehash():
    return find_spec("imagehash") is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["recall", "judges", "alike", "time"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--half", type=int, choices=[0, 1], default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=50, help='of "judges", of each kind')
    parser.add_argument("--page", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 3000, 10_000])
    given = parser.parse_args()
    {"recall": recall, "judges": judges, "alike": alike, "time": timed}[given.what](given)


if __name__ == "__main__":
    main()
