"""A fresh Debian in a folder, in which the steps of a Dockerfile are run without a container engine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.dockerfile import HERE, Stage, context

DEVICES = ("null", "zero", "random", "urandom")


class Root:
    """A root folder, with the environment, shell and working directory that the instructions so far have set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **_network(folder)}
        self.shell = ["/bin/sh", "-c"]
        self.at = "/"

    @classmethod
    def fresh(cls, folder: Path, release: str) -> Root:
        """Make a root as small as Debian's slim images. Skips the test if no mirror can be reached."""
        command = ["debootstrap", "--variant=minbase", release, str(folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"debootstrap made no root of {release}: {made.stdout.strip().splitlines()[-1:]}")
        folder.chmod(0o755)  # pytest's folders are private to their owner
        shutil.copyfile("/etc/resolv.conf", folder / "etc" / "resolv.conf")
        for device in DEVICES:
            subprocess.run(["cp", "-a", "--remove-destination", f"/dev/{device}", folder / "dev"], check=True)
        return cls(folder)

    def build(self, stage: Stage) -> list[str]:
        """Follow the instructions of a stage in this root; returns the commands that were run."""
        done = []
        for instruction in stage.instructions:
            if instruction.name == "RUN":
                self.run(instruction.text)
                done.append(instruction.text)
            elif instruction.name == "SHELL":
                self.shell = re.findall(r'"([^"]*)"', instruction.text)
            elif instruction.name in ("ENV", "ARG"):
                for name, value in re.findall(r"(\w+)=(\S+)", instruction.text):
                    self.environment[name] = value.replace("$PATH", self.environment["PATH"])
            elif instruction.name == "WORKDIR":
                self.at = instruction.text
                (self.folder / self.at[1:]).mkdir(parents=True, exist_ok=True)
            elif instruction.name == "COPY" and instruction.source_stage is None:
                self.copy(instruction.paths[:-1], instruction.paths[-1])
        return done

    def copy(self, sources: Sequence[str], target: str) -> None:
        """Copy those of our files into the root that .dockerignore allows."""
        into = self.folder / self.at[1:] / target
        for file in context():
            if "." in sources or str(file) in sources:
                there = into / (file if "." in sources else file.name)
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(HERE / file, there)

    def run(self, command: str, user: int = 0) -> str:
        """Run a command in the root, in separate namespaces; returns its output. The test fails if the command does."""
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", f"--mount-proc={self.folder / 'proc'}"]
        chroot = ["chroot", f"--userspec={user}:{user}", str(self.folder)]
        environment = {**self.environment, "HOME": "/root" if user == 0 else "/home/vidla"}
        inside = [*self.shell, f"cd {self.at} && {command}"]
        run = subprocess.run([*enter, *chroot, *inside], env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{command}\n{run.stdout[-3000:]}\n{run.stderr[-3000:]}"
        return run.stdout


def _network(root: Path) -> Mapping[str, str]:
    """This machine's settings for reaching pip's index, with the files that they name copied into `root`."""
    given: dict[str, str] = {}
    for name, value in os.environ.items():
        if not name.startswith("PIP_") and not name.lower().endswith("_proxy"):
            continue
        if value.startswith("/") and Path(value).exists():
            there = root / "opt" / "given" / name
            there.parent.mkdir(parents=True, exist_ok=True)
            if Path(value).is_dir():
                shutil.copytree(value, there)
            else:
                shutil.copyfile(value, there)
            value = f"/opt/given/{name}"
        given[name] = value
    return given
