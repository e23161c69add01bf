"""A pipeline whose processes share one engine; each answer must hold the number of its request."""

from __future__ import annotations

import json
import os
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from curation.engines.interface import Completion, Sampling, TextRequest
from curation.engines.registry import close_engines, open_engine
from curation.prompts import Prompt
from curation.secret import keys
from curation.settings import EngineSettings

AT_A_TIME = 8


def request(number: int) -> TextRequest:
    schema = {
        "type": "object",
        "properties": {"n": {"const": number}},
        "required": ["n"],
        "additionalProperties": False,
    }
    prompt = Prompt("number", 1, "You count.", "Count from {{ n }}.", schema)
    return TextRequest(f"request {number}", prompt, {"n": number}, Sampling(max_tokens=32))


class Ask(beam.DoFn):
    """Numbers of batches → one file per batch in `folder`: the process id, and the answer to each request."""

    def __init__(self, settings: EngineSettings, folder: str) -> None:
        self.settings = settings
        self.folder = folder
        self.key = keys.own  # to the secrets in the settings; a run's workers read it from the dataset

    def setup(self) -> None:
        keys.add(self.key)

    def process(self, batch: int) -> None:
        requests = [request(batch * AT_A_TIME + i) for i in range(AT_A_TIME)]
        answers = open_engine(self.settings, "caption").complete(requests)
        texts = [[a.id, a.text if isinstance(a, Completion) else a.message] for a in answers]
        Path(self.folder, f"{batch}.json").write_text(json.dumps([os.getpid(), texts]))

    def teardown(self) -> None:
        close_engines()


def ask(settings: EngineSettings, folder: Path, batches: int, processes: int) -> None:
    """Send `batches` batches from `processes` processes of Beam, and wait until all have ended."""
    options = ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        _ = pipeline | beam.Create(range(batches)) | beam.Reshuffle() | beam.ParDo(Ask(settings, str(folder)))
