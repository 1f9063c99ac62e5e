"""Draws docs/pictures/maps.png: an error of a plain network, with the maps of what it rests on.

python benchmarks/picture_maps.py docs/pictures/maps.png
"""

import sys

import matplotlib
import numpy as np

matplotlib.use("agg")

from map_networks import CLASSES, setup  # noqa: E402

from skattrib.plots import PixelMapDisplay  # noqa: E402
from skattrib.torch_adapters import pixel_maps  # noqa: E402


def main(path):
    """Draw the first sneaker that is taken for a bag, or the first error if there is none."""
    data = setup("plain")
    predicted = data.explainer.predict(data.phi_test)
    wrong = predicted != data.y_test
    kind = wrong & (data.y_test == 7) & (predicted == 8)
    rows = np.flatnonzero(kind if kind.any() else wrong)[:1]
    maps = pixel_maps(*data.arguments(rows, 5), method="gradient", random_state=0)
    text = f"{CLASSES[data.y_test[rows[0]]]} taken for {CLASSES[predicted[rows[0]]]}"
    display = PixelMapDisplay.from_result(maps, y_train=CLASSES[data.y], title=text)
    display.figure_.savefig(path, dpi=100)
    print(text, maps.values.round(2), maps.train_share.round(2))


if __name__ == "__main__":
    main(sys.argv[1])
