# Trains on NVIDIA GPUs. The host needs their driver and the NVIDIA container toolkit.
#
#   docker build --tag keras_ebm .
#   docker run --rm --gpus all --volume "$PWD/runs:/work/runs" keras_ebm \
#       train-vera --dataset=digits --strategy=mirrored --workdir=runs/digits

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY setup.py pyproject.toml README.md keras_ebm_cli.py ./
COPY keras_ebm keras_ebm
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=wheel /wheels /wheels
# TensorFlow's extra brings the CUDA libraries that its version was built against.
RUN pip install --no-cache-dir "tensorflow[and-cuda]>=2.21" \
    "$(ls /wheels/*.whl)[data,plots,tune]"
# What a run writes then belongs to no superuser; --user=$(id -u) gives it to you.
RUN useradd --create-home worker && mkdir --mode=777 /work
ENV HOME=/home/worker MPLCONFIGDIR=/tmp/matplotlib
USER worker
WORKDIR /work
ENTRYPOINT ["keras-ebm"]
