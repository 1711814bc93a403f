"""`python -m trainers.attack`: the program `keras-ebm attack`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("attack")
