"""`python -m trainers.evaluate`: the program `keras-ebm evaluate`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("evaluate")
