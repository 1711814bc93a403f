"""`python -m trainers.vera`: the program `keras-ebm train-vera`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("train-vera")
