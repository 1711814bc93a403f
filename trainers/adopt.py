"""`python -m trainers.adopt`: the program `keras-ebm adopt`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("adopt")
