"""`python -m trainers.langevin`: the program `keras-ebm train-langevin`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("train-langevin")
