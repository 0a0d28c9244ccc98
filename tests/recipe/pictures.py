"""Folders of small images, for the tests of several packages."""

import numpy as np
import tensorflow as tf

ENCODERS = {".png": tf.io.encode_png, ".jpg": tf.io.encode_jpeg}


def make_folder(
    folder, classes=("cats", "dogs"), each=10, size=(12, 10), channels=3, suffix=".png"
):
    """Write images of noise, brighter from class to class; return {path: pixels}."""
    rng, images = np.random.default_rng(0), {}
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(each):
            pixels = rng.integers(90 * number, 90 * number + 60, (*size, channels)).astype("uint8")
            file = folder / name / f"{index:02}{suffix}"
            tf.io.write_file(str(file), ENCODERS[suffix](pixels))
            images[str(file)] = pixels
    return images
