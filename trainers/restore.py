"""`python -m trainers.restore`: the program `keras-ebm restore`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("restore")
