"""`python -m export.classifier`: the program `keras-ebm export-classifier`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("export-classifier")
