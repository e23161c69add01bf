"""What is particular to Dataflow: what each stage wants of its workers, and what a job needs before it is begun."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.rejects import Stage
from curation.settings import EngineSettings, Settings


def resource_hints(stage: Stage, settings: Settings) -> Mapping[str, str]:
    """What a stage's workers must have, as Beam's resource hints; nothing where any worker will do.

    Only a stage whose engine runs a vLLM beside the worker wants cards, as many as the server takes, and one bundle at
    a time: more of them would fill the server no better.
    """
    engine = _engine(stage, settings)
    if engine is None or engine.kind != "vllm":
        return {}
    wanted = settings.dataflow
    accelerator = {
        "type": wanted.accelerator,
        "count": str(engine.vllm.tensor_parallel_size * engine.vllm.data_parallel_size),
        "machine_type": wanted.machine_type,
        "install-nvidia-driver": wanted.driver,
    }
    return {
        "accelerator": ";".join(name if value is None else f"{name}:{value}" for name, value in accelerator.items()),
        "min_ram": wanted.min_ram,
        "max_active_bundles_per_worker": "1",
    }


def _engine(stage: Stage, settings: Settings) -> EngineSettings | None:
    """The engine that a stage asks, if it asks one."""
    return {Stage.CAPTION: settings.captions.engine, Stage.SUMMARIZE: settings.summaries.engine}.get(stage)


# --- the job --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataflowOptions:
    """Those of Beam's options that decide what may be done; the rest is Beam's own to check."""

    is_dataflow: bool
    is_described: bool  # the job is written to a file for somebody else to start, as a template's launcher does
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
    """See whether a run under Beam's options `arguments` can work, before it writes anything. Raises UsageError."""
    options = DataflowOptions.of(arguments)
    if not options.is_dataflow:
        return
    try:
        import google.cloud.dataflow  # noqa: F401
    except ImportError:
        raise UsageError("DataflowRunner needs Beam's parts for Google Cloud: pip install 'vidla[dataflow]'") from None
    if dataset.folder is not None and not options.is_dry:
        raise UsageError(f"Dataflow's workers do not see {dataset.uri}: --dataset must be a gs:// (or s3://) URI")
    if options.is_described and not one_job:
        raise UsageError("--template_location describes one job, and a run takes several: add --one-job")
