"""From files, or arrays, to batches. The way of an item: files -> transforms, labels, image -> dataset -> collate ->
loader -> augment, affine, which plan.py makes one pass; block.py plans it all, factory.py knows the usual plans,
summary.py prints it.
"""

from .affine import Brightness, Contrast, Dihedral, RandomResizedCropGPU, Rotate, Warp, Zoom, aug_transforms
from .archive import extract
from .augment import Cutout, Flip, IntToFloat, Normalize, RandomCropPad, cifar_stats, imagenet_stats, mnist_stats
from .block import CategoryBlock, DataBlock, ImageBlock, MultiCategoryBlock, RegressionBlock, TransformBlock
from .collate import collate
from .dataloaders import DataLoaders
from .dataset import Dataset, Datasets, TensorDataset
from .errors import ItemError, UnknownLabel
from .factory import ImageDataLoaders
from .files import (
    ColReader,
    ColSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    RandomSplitter,
    RegexLabeller,
    get_files,
    get_image_files,
    parent_label,
    read_csv,
    using_attr,
)
from .image import PadMode, PILImage, PILImageBW, Resize, ResizeMethod, ToTensor, verify_images
from .labels import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    OneHotEncode,
    RegressionSetup,
    Vocab,
)
from .loader import DataLoader
from .show import contact_sheet
from .transforms import Pipeline, RandTransform, Transform

IntToFloatTensor = IntToFloat  # fastai's name

__all__ = [
    "Brightness",
    "Categorize",
    "CategoryBlock",
    "ColReader",
    "ColSplitter",
    "Contrast",
    "Cutout",
    "DataBlock",
    "DataLoader",
    "DataLoaders",
    "Dataset",
    "Datasets",
    "Dihedral",
    "EncodedMultiCategorize",
    "Flip",
    "FuncSplitter",
    "GrandparentSplitter",
    "ImageBlock",
    "ImageDataLoaders",
    "IndexSplitter",
    "IntToFloat",
    "IntToFloatTensor",
    "ItemError",
    "MultiCategorize",
    "MultiCategoryBlock",
    "Normalize",
    "OneHotEncode",
    "PILImage",
    "PILImageBW",
    "PadMode",
    "Pipeline",
    "RandTransform",
    "RandomCropPad",
    "RandomResizedCropGPU",
    "RandomSplitter",
    "RegexLabeller",
    "RegressionBlock",
    "RegressionSetup",
    "Resize",
    "ResizeMethod",
    "Rotate",
    "TensorDataset",
    "ToTensor",
    "Transform",
    "TransformBlock",
    "UnknownLabel",
    "Vocab",
    "Warp",
    "Zoom",
    "aug_transforms",
    "cifar_stats",
    "collate",
    "contact_sheet",
    "extract",
    "get_files",
    "get_image_files",
    "imagenet_stats",
    "mnist_stats",
    "parent_label",
    "read_csv",
    "using_attr",
    "verify_images",
]
