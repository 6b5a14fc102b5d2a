"""Train several configs one after another: ``many_runs.py FILE`` with JSON [[config, folder]]."""

import importlib.util
import json
from pathlib import Path
import sys

from mtl_training.config import build_config
from mtl_training.trainer import Trainer
from rich.console import Console
import torch

spec = importlib.util.spec_from_file_location('toy_run', Path(__file__).with_name('toy_run.py'))
spec.loader.exec_module(importlib.util.module_from_spec(spec))
torch.set_num_threads(1)
for block, folder in json.loads(Path(sys.argv[1]).read_text()):
    Trainer(build_config(block), folder, Console(quiet=True)).run()
