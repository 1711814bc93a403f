"""Data sets, how they are split, and foreign rows to test a model with."""

from keras_ebm.data.csv_rows import CsvRows
from keras_ebm.data.dataset import Dataset, validate
from keras_ebm.data.episodes import Episodes, load_episodes, read_episodes
from keras_ebm.data.example_rows import ExampleRows
from keras_ebm.data.foreign import dtype_of, fit_images, foreign
from keras_ebm.data.images import (
    ImageRows,
    decode_images,
    fit_channels,
    fit_folder,
    image_files,
    read_images,
    read_named_images,
    size_remedy,
)
from keras_ebm.data.inputs import in_types, types_of
from keras_ebm.data.labels import mask_labels, relabel
from keras_ebm.data.parquet_rows import ParquetRows
from keras_ebm.data.parsing import Spec, parse_spec
from keras_ebm.data.python_rows import import_module, read_python
from keras_ebm.data.schema import Column, TableSchema
from keras_ebm.data.sources import SOURCES, Source, file_of, forms, sources_of
from keras_ebm.data.specs import load, read
from keras_ebm.data.splits import (
    Splits,
    fingerprint,
    load_splits,
    make_splits,
    row_hashes,
    save_splits,
    seen_rows,
    split_digest,
)
from keras_ebm.data.sprites import (
    Sprites,
    draw_sprites,
    held_out_size,
    measure_sprites,
    read_dsprites,
)
from keras_ebm.data.stacked import resize_images, stack_digits
from keras_ebm.data.tables import read_columns, read_csv
from keras_ebm.data.toy import DENSITIES, draw
from keras_ebm.data.toy_densities import EXACT, log_density

__all__ = [
    "DENSITIES",
    "EXACT",
    "SOURCES",
    "Column",
    "CsvRows",
    "Dataset",
    "Episodes",
    "ExampleRows",
    "ImageRows",
    "ParquetRows",
    "Source",
    "Spec",
    "Splits",
    "Sprites",
    "TableSchema",
    "decode_images",
    "draw",
    "draw_sprites",
    "dtype_of",
    "file_of",
    "fingerprint",
    "fit_channels",
    "fit_folder",
    "fit_images",
    "foreign",
    "forms",
    "held_out_size",
    "import_module",
    "in_types",
    "image_files",
    "load",
    "load_episodes",
    "load_splits",
    "log_density",
    "make_splits",
    "mask_labels",
    "measure_sprites",
    "parse_spec",
    "read",
    "read_columns",
    "read_csv",
    "read_dsprites",
    "read_episodes",
    "read_images",
    "read_named_images",
    "read_python",
    "relabel",
    "resize_images",
    "row_hashes",
    "save_splits",
    "seen_rows",
    "size_remedy",
    "sources_of",
    "split_digest",
    "stack_digits",
    "types_of",
    "validate",
]
