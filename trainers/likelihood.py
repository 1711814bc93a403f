"""`python -m trainers.likelihood`: the program `keras-ebm train-likelihood`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("train-likelihood")
