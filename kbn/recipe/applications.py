"""The networks of `keras.applications` that a recipe can name, and what of them is tuned."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Application:
    """What kbn knows of a network without Keras.

    Attributes:
        module: of keras.applications; its `preprocess_input` is a part of the model.
        smallest: side in pixels of the smallest image that it takes.
        norm: whether it has batch norm.
        alpha: whether it has a factor for the number of its filters.
    """

    module: str
    smallest: int = 32
    norm: bool = True
    alpha: bool = False


_FAMILIES: dict[str, tuple[Application, list[str]]] = {  # beginning of the name -> endings
    "ConvNeXt": (
        Application("convnext", norm=False),
        ["Tiny", "Small", "Base", "Large", "XLarge"],
    ),
    "DenseNet": (Application("densenet"), ["121", "169", "201"]),
    "EfficientNet": (Application("efficientnet"), [f"B{size}" for size in range(8)]),
    "EfficientNetV2": (
        Application("efficientnet_v2"),
        ["B0", "B1", "B2", "B3", "S", "M", "L"],
    ),
    "InceptionV3": (Application("inception_v3", smallest=75), [""]),
    "MobileNetV2": (Application("mobilenet_v2", alpha=True), [""]),
    "MobileNetV3": (Application("mobilenet_v3", alpha=True), ["Small", "Large"]),
    "ResNet": (Application("resnet"), ["50", "101", "152"]),
    "ResNet50": (Application("resnet_v2"), ["V2"]),
    "ResNet101": (Application("resnet_v2"), ["V2"]),
    "ResNet152": (Application("resnet_v2"), ["V2"]),
    "VGG16": (Application("vgg16", norm=False), [""]),
    "VGG19": (Application("vgg19", norm=False), [""]),
    "Xception": (Application("xception", smallest=71), [""]),
}
APPLICATIONS: dict[str, Application] = {
    beginning + ending: application
    for beginning, (application, endings) in _FAMILIES.items()
    for ending in endings
}

# hyperparameter -> its value where a recipe does not tune it. Of the phases and the dropout they
# are those of Keras' guide "Transfer learning & fine-tuning"; norm_momentum is the application's.
HYPERPARAMETERS: dict[str, int | float] = {
    "head_share": 0.5,
    "unfrozen": 1,
    "fine_learning_rate": 1e-5,
    "dropout": 0.2,
    "norm_momentum": 0.99,
}
IMAGENET, RANDOM = "imagenet", "none"  # weights that are no file
WEIGHTS_FILES = (".weights.h5", ".h5", ".keras")
PIXELS = (0.0, 255.0)  # of images in files, and what every application expects
