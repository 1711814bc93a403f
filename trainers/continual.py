"""`python -m trainers.continual`: the program `keras-ebm continual`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("continual")
