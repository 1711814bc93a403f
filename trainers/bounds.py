"""`python -m trainers.bounds`: the program `keras-ebm bounds`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("bounds")
