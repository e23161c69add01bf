"""The environment variables that child processes get: those on a list, and no others.

A trailing * stands for any ending.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatchcase

SYSTEM = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "XDG_*"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "MALLOC_*", "ARROW_*", "_RJEM_MALLOC_CONF"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
"""What any program may need: paths, language, certificates, proxies."""

MODELS = (
    *("CUDA*", "NVIDIA_*", "NCCL_*", "HIP_*", "ROCR_*", "ROCM_*", "HSA_*", "RCCL_*", "OMP_*", "KMP_*", "MKL_*"),
    *("GLOO_*", "UCX_*", "ZE_*", "ONEAPI_*", "TPU_*", "PJRT_*"),
    *("TORCH*", "PYTORCH_*", "TRITON_*", "FLASHINFER_*", "VLLM_*", "CC", "CXX", "MAX_JOBS"),
    *("HF_*", "HUGGING*", "TRANSFORMERS_*", "TIKTOKEN_*"),
)
"""What a model server may need: GPUs, libraries, and the hub, with the hub's token."""

CLOUD = ("AWS_*", "GOOGLE_*", "CLOUDSDK_*", "GCE_METADATA_*")
"""Credentials of object stores."""


def environment(*names: str) -> dict[str, str]:
    """The variables of this process whose names are on the list."""
    return {name: value for name, value in os.environ.items() if _listed(name, names)}


def _listed(name: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, listed) for listed in names)
