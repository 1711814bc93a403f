"""`python -m trainers.sample`: the program `keras-ebm sample`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("sample")
