"""`python -m export.recalibrate`: the program `keras-ebm recalibrate`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("recalibrate")
