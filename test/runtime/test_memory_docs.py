"""What docs/memory.md says against what there is."""

from pathlib import Path
import re

from mtl_perception.network.config import from_mapping, NetworkConfig
from mtl_perception.network.multitask import MultiTaskNetwork
import torch
import yaml

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / 'docs' / 'memory.md').read_text()


def test_the_network_of_the_docs_can_be_built() -> None:
    (block,) = re.findall(r'```yaml\n(.*?)```', DOCS, re.DOTALL)
    config = from_mapping(NetworkConfig, yaml.safe_load(block)['network'])
    config = config.with_labels({'action': ('walk', 'run')})
    config = config.with_groups({'forecast': {'verb': ('take', 'cut')}})
    with torch.device('meta'):
        network = MultiTaskNetwork(config)
    assert network.heads.keys() == {'action', 'forecast', 'change', 'moment'}


def test_every_type_of_the_docs_is_a_message() -> None:
    types = re.findall(r'`mtl_perception/(\w+)`', DOCS)
    assert {'AnticipatedActions', 'ObjectStateChange'} <= {*types}
    for name in types:
        assert (ROOT / 'msg' / f'{name}.msg').is_file()
