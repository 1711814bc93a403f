"""`python -m export.ood_scorer`: the program `keras-ebm export-ood-scorer`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("export-ood-scorer")
