# Images of vidla. Targets: worker (a Beam worker without GPUs), gpu-worker (the same with vLLM, for the text stages),
# command (`vidla` itself) and launcher (of a flex template). docs/deploy.md has the commands.
#
# Workers unpickle objects that the driver has pickled, so both need the same minor version of Python: that of Beam's
# image below, which is also Debian's.

FROM apache/beam_python3.11_sdk:2.77.0 AS beam
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:20240812-rc01 AS template

# --- Python with the project's dependencies, from the lock ----------------------------------------------------------

FROM debian:bookworm-slim AS python
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates=20* \
        ffmpeg=7:5.1.* \
        python3=3.11.* \
        python3-venv=3.11.* \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/vidla/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

FROM python AS dependencies
WORKDIR /build
COPY constraints.txt models.txt ./
COPY locks/requirements.txt locks/
RUN python3 -m venv /opt/vidla \
    && pip install --no-deps --require-hashes -r locks/requirements.txt
# PyTorch's CPU build; the one on PyPI brings several gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --extra-index-url "${TORCH_INDEX}" -c constraints.txt torch \
    && pip install --no-deps -r models.txt

FROM dependencies AS project
COPY . .
RUN pip install --no-deps --no-build-isolation . \
    && python -c "import pipelines.stages.stage, vidla.launch"

# --- workers --------------------------------------------------------------------------------------------------------

FROM python AS worker
COPY --from=project /opt/vidla /opt/vidla
COPY --from=beam /opt/apache/beam /opt/apache/beam
# On Dataflow this image must run as root, since Beam's boot writes to mounts that belong to root. Elsewhere any user
# works (docker run --user, Kubernetes' runAsUser); this one is there for it.
RUN useradd --create-home --uid 10001 vidla
ENTRYPOINT ["/opt/apache/beam/boot"]

FROM worker AS gpu-worker
# Triton compiles its GPU kernels at run time, with a C compiler and Python's headers.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        gcc=4:12.* \
        libc6-dev=2.36-* \
        python3-dev=3.11.* \
    && rm -rf /var/lib/apt/lists/*
COPY locks/vllm.txt /opt/vllm/lock.txt
RUN python3 -m venv /opt/vllm \
    && /opt/vllm/bin/pip install --no-deps --require-hashes -r /opt/vllm/lock.txt
# The paths where Dataflow and Kubernetes put the GPU driver.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/usr/local/cuda/compat \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# --- the command ----------------------------------------------------------------------------------------------------

FROM python AS command
COPY --from=project /opt/vidla /opt/vidla
RUN useradd --create-home --uid 10001 vidla
USER 10001
WORKDIR /home/vidla
ENTRYPOINT ["vidla"]
CMD ["--help"]

FROM command AS launcher
COPY --from=template /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/vidla/bin/vidla-launch
ENTRYPOINT ["/opt/google/dataflow/python_template_launcher"]
