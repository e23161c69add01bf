"""Dataflow: the resources that each stage requests, and the checks before a job begins."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.rejects import Stage
from curation.settings import EngineSettings, Settings


def resource_hints(stage: Stage, settings: Settings) -> Mapping[str, str]:
    """The resources that a stage's workers need, as Beam's resource hints; empty if any worker will do.

    Only a stage whose engine runs vLLM on the worker needs GPUs, as many as the server uses, and one bundle at once:
    more bundles would not keep the server busier.
    """
    engine = _engine(stage, settings)
    if engine is None or engine.kind != "vllm":
        return {}
    dataflow = settings.dataflow
    accelerator = {
        "type": dataflow.accelerator,
        "count": str(engine.vllm.tensor_parallel_size * engine.vllm.data_parallel_size),
        "machine_type": dataflow.machine_type,
        "install-nvidia-driver": dataflow.driver,
    }
    return {
        "accelerator": ";".join(name if value is None else f"{name}:{value}" for name, value in accelerator.items()),
        "min_ram": dataflow.min_ram,
        "max_active_bundles_per_worker": "1",
    }


def _engine(stage: Stage, settings: Settings) -> EngineSettings | None:
    """The engine of a stage; None if it has none."""
    return {Stage.CAPTION: settings.captions.engine, Stage.SUMMARIZE: settings.summaries.engine}.get(stage)


# --- the job --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataflowOptions:
    """The Beam options that matter here; Beam itself checks the others."""

    is_dataflow: bool
    is_described: bool  # the job is written to a file, to be started later, as by a template's launcher
    is_dry: bool

    @classmethod
    def of(cls, arguments: Sequence[str]) -> DataflowOptions:
        parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
        parser.add_argument("--runner", "-r", default="")
        parser.add_argument("--template_location")
        parser.add_argument("--dry_run", nargs="?", const="true")
        given, _ = parser.parse_known_args(list(arguments))
        name = given.runner.rpartition(".")[2].lower().removesuffix("runner")
        return cls(name == "dataflow", bool(given.template_location), bool(given.dry_run))


def check(arguments: Sequence[str], dataset: Dataset, one_job: bool) -> None:
    """Check that a run with Beam's options `arguments` can work, before it writes anything. Raises UsageError."""
    options = DataflowOptions.of(arguments)
    if not options.is_dataflow:
        return
    try:
        import google.cloud.dataflow  # noqa: F401
    except ImportError:
        raise UsageError("DataflowRunner needs Beam's parts for Google Cloud: pip install 'vidla[dataflow]'") from None
    if dataset.folder is not None and not options.is_dry:
        raise UsageError(f"Dataflow's workers cannot reach {dataset.uri}: --dataset must be a gs:// (or s3://) URI")
    if options.is_described and not one_job:
        raise UsageError("--template_location describes one job, and a run takes several: add --one-job")
