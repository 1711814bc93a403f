"""`python -m export.monitor`: the program `keras-ebm monitor`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("monitor")
