"""`python -m export.predict`: the program `keras-ebm predict`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("predict")
