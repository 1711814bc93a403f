"""`python -m trainers.compose`: the program `keras-ebm compose`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("compose")
