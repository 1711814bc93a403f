"""`python -m trainers.tune`: the program `keras-ebm tune`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("tune")
