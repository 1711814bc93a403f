"""`python -m trainers.rollout`: the program `keras-ebm rollout`."""

from keras_ebm_cli import run

if __name__ == "__main__":
    run("rollout")
