"""What the README says against what is there."""

from pathlib import Path
import re
import subprocess
import sys

from mtl_perception.checkpoint import load_checkpoint
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def test_every_file_that_it_shows_or_links_exists() -> None:
    links = re.findall(r'\]\(([^)#]+)\)', README)
    assert links
    missing = [link for link in links if '://' not in link and not (ROOT / link).exists()]
    assert not missing


def test_every_path_that_it_names_exists() -> None:
    paths = re.findall(r'\b((?:config|checkpoints|launch|scripts|requirements)/[\w./]+\w)', README)
    assert {path for path in paths if not (ROOT / path).exists()} == set()


def test_every_make_target_that_it_names_exists() -> None:
    targets = set(re.findall(r'\bmake ([a-z]+)', README))
    makefile = (ROOT / 'Makefile').read_text()
    assert {t for t in targets if not re.search(rf'^{t}:', makefile, re.MULTILINE)} == set()


@pytest.mark.parametrize(
    'command', sorted(set(re.findall(r'python -m mtl_training ([\w-]+)', README))), ids=str
)
def test_every_training_command_that_it_names_exists(command: str) -> None:
    done = subprocess.run(
        [sys.executable, '-m', 'mtl_training', command, '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert command in done.stdout


@pytest.mark.parametrize(
    'name', sorted(set(re.findall(r'python -m benchmarks\.(bench_\w+)', README))), ids=str
)
def test_every_benchmark_that_it_names_exists(name: str) -> None:
    assert (ROOT / 'benchmarks' / f'{name}.py').exists()


def test_the_figures_of_the_demo_checkpoint_are_those_in_it() -> None:
    reached = load_checkpoint(ROOT / 'checkpoints' / 'demo.safetensors').metrics['test']
    assert not reached['relevance']['calibrated_on']
    action, gesture = (reached['relevance']['tasks'][task] for task in ('action', 'gesture'))
    of_actions, of_gestures = (reached['accuracy'][task] for task in ('action', 'gesture'))
    text = ' '.join(README.split())
    for said in (
        f'{of_actions:.0%} of the 9 actions and {of_gestures:.0%} of the 9 gestures',
        f'On {action["samples"]} mixed unseen clips',
        f'AUROC of {action["auroc"]:.3f} for actions and {gesture["auroc"]:.3f} for gestures',
        f'calibration error of {action["ece"]:.3f} and {gesture["ece"]:.3f}',
        f'Actions are named in {action["false_alarms"]:.1%} of the clips without one',
        f'gestures in {gesture["false_alarms"]:.1%}',
        f'{action["missed"]:.1%} and {gesture["missed"]:.1%} of the true ones are missed',
    ):
        assert said.replace('%', ' %') in text


def test_what_it_says_of_people_is_what_the_demo_checkpoint_reached() -> None:
    people = load_checkpoint(ROOT / 'checkpoints' / 'demo.safetensors').metrics['test']['people']
    boxes, joints, activity = (people[task] for task in ('person', 'keypoints', 'activity'))
    text = ' '.join(README.split())
    for said in (
        f'boxes with an AP50 of {boxes["ap50"]:.3f} (AP {boxes["ap"]:.3f})',
        f'keypoint AP of {joints["ap"]:.3f}',
        f'what {activity["accuracy"]:.1%} of the people found do'.replace('%', ' %'),
        f'{activity["accuracy_of_all"]:.1%} of all people'.replace('%', ' %'),
        f'{1 - activity["found"]:.1%} are not found'.replace('%', ' %'),
    ):
        assert said in text
    # What the demo promises.
    assert joints['ap'] >= 0.6
    assert boxes['ap50'] >= 0.85
    assert activity['accuracy'] >= 0.9
