"""Runs the command of each launch file, with stubs for the commands of a cluster."""

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gan_jax.training import metric_writers
from tests.helpers import commands, process_groups

LAUNCH = commands.ROOT / 'experiments' / 'launch'
SMALL_RING = (
  *process_groups.RING,
  '--steps=2',
  '--eval_every=2',
  '--checkpoint_every=2',
  '--log_every=1',
)


@pytest.fixture
def env(tmp_path, pytestconfig):
  """Returns environment variables whose PATH starts with a folder for stubs."""
  (tmp_path / 'bin').mkdir()
  variables = process_groups.environment(pytestconfig.cache.mkdir('scripts'))
  return variables | {'PATH': f'{tmp_path / "bin"}:{variables["PATH"]}', 'PYTHON': sys.executable}


def write_stub(env, name, text):
  path = Path(env['PATH'].split(':')[0]) / name
  path.write_text('#!/usr/bin/env bash\n' + textwrap.dedent(text))
  path.chmod(0o755)


def bash(env, script, *args, timeout=180):
  return subprocess.run(
    ['bash', str(LAUNCH / script), *args],
    cwd=commands.ROOT, env=env, capture_output=True, text=True, timeout=timeout,
  )  # fmt: skip


def test_a_host_with_several_devices(env, tmp_path):
  ended = bash(env, 'multi_gpu.sh', *SMALL_RING, '--devices=2', f'--run={tmp_path / "run"}')
  assert ended.returncode == 0, ended
  assert 'finished: 2 steps' in ended.stdout


def test_a_tpu_slice_gets_the_command_on_every_host(env, tmp_path):
  write_stub(env, 'gcloud', 'printf "%s\\n" "$@"')
  env |= {'TPU': 'my-slice', 'ZONE': 'us-central2-b'}
  flags = (*SMALL_RING, '--num_processes=1', f'--run={tmp_path / "a run"}')
  *target, command = bash(env, 'tpu_slice.sh', *flags).stdout.splitlines()
  assert ' '.join(target) == ('compute tpus tpu-vm ssh my-slice --zone=us-central2-b --worker=all')
  remote = command.removeprefix('--command=')
  home = tmp_path / 'home'
  (home / 'gan_jax/.venv/bin').mkdir(parents=True)
  (home / 'gan_jax/experiments').symlink_to(commands.ROOT / 'experiments')
  (home / 'gan_jax/gan_jax').symlink_to(commands.ROOT / 'gan_jax')
  (home / 'gan_jax/.venv/bin/python').symlink_to(sys.executable)
  python = f'exec {shlex.quote(sys.executable)} "$@"'
  (home / 'gan_jax/.venv/bin/python').unlink()
  write_stub(env, 'host_python', python)
  (home / 'gan_jax/.venv/bin/python').symlink_to(tmp_path / 'bin/host_python')
  ended = subprocess.run(
    ['bash', '-c', remote], env=env | {'HOME': str(home)}, capture_output=True, text=True, timeout=120
  )  # fmt: skip
  assert ended.returncode == 0, ended
  assert 'finished: 2 steps' in ended.stdout
  assert metric_writers.read_metrics(tmp_path / 'a run' / 'metrics.jsonl')


def test_a_tpu_slice_needs_its_name(env):
  ended = bash({k: v for k, v in env.items() if k not in ('TPU', 'ZONE')}, 'tpu_slice.sh')
  assert ended.returncode != 0
  assert 'the name of the slice' in ended.stderr


def test_slurm_starts_a_process_for_each_node(env, tmp_path):
  write_stub(
    env, 'scontrol', '[ "$*" = "show hostnames node[1-2]" ] && printf "localhost\\nnode2\\n"'
  )
  write_stub(
    env,
    'srun',
    """
    shift  # the flag of srun
    for i in 0 1; do SLURM_PROCID=$i "$@" & pids[$i]=$!; done
    wait "${pids[0]}" && wait "${pids[1]}"
    """,
  )
  job = process_groups.free_port() - 20000  # the port is derived from the job number
  while not 0 <= job < 20000:
    job = process_groups.free_port() - 20000
  env |= {'SLURM_JOB_NODELIST': 'node[1-2]', 'SLURM_JOB_ID': str(job), 'SLURM_NTASKS': '2'}
  ended = bash(env, 'slurm.sbatch', *SMALL_RING, '--devices=1', f'--run={tmp_path / "run"}')
  assert ended.returncode == 0, ended
  assert 'finished: 2 steps' in ended.stdout
  assert 'in 2 processes' in (tmp_path / 'run/config.json').read_text()


def test_slurm_sends_sigterm_before_the_time_limit():
  options = re.findall(r'^#SBATCH (\S+)', (LAUNCH / 'slurm.sbatch').read_text(), re.MULTILINE)
  assert {'--signal=TERM@90', '--requeue', '--ntasks-per-node=1'} <= set(options)


def test_the_kubernetes_command_trains_in_two_pods(env, tmp_path):
  text = (LAUNCH / 'gke.yaml').read_text()
  folded = re.search(r'args:\n\s+- >-\n((?: {14}.*\n)+)', text)[1]
  command = ' '.join(folded.split())
  n = int(re.search(r'--num_processes=(\d+)', command)[1])
  sides = map(int, re.search(r'gke-tpu-topology: (\d+)x(\d+)', text).groups())
  chips = int(re.search(r'google.com/tpu: (\d+)', text)[1])
  assert next(sides) * next(sides) == n * chips
  for name in ('completions', 'parallelism'):
    assert f'{name}: {n}\n' in text
  port = re.search(r'--coordinator=gan-jax-0\.gan-jax:(\d+)', command)[1]
  assert f'containerPort: {port}' in text
  # The same command with two pods, localhost and synthetic data.
  command = command.replace('.venv/bin/python', shlex.quote(sys.executable))
  command = command.replace(f'gan-jax-0.gan-jax:{port}', f'localhost:{process_groups.free_port()}')
  command = command.replace(f'--num_processes={n}', '--num_processes=2')
  command = command.replace('/shared/runs/mnist', str(tmp_path / 'run'))
  command = command.replace(
    '--flagfile=experiments/presets/mnist.flags --batch_size=8192', shlex.join(SMALL_RING)
  )
  pods = [
    subprocess.Popen(
      ['bash', '-c', command + ' --devices=1'], cwd=commands.ROOT, text=True,
      env=env | {'JOB_COMPLETION_INDEX': str(i)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    for i in range(2)
  ]  # fmt: skip
  ended = process_groups.finish(pods)
  assert [each.code for each in ended] == [0, 0], ended
  assert 'finished: 2 steps' in ended[0].out


# A sweep has no --peer_timeout.
SWEEP_FLAGS = tuple(flag for flag in SMALL_RING if not flag.startswith('--peer_timeout'))
SWEEP = ('--sweep=k=1,2', '--seeds=2', '--devices=1')


@pytest.mark.slow
def test_slurm_starts_workers_of_a_sweep(env, tmp_path):
  write_stub(env, 'srun', 'exec "$@"')
  env |= {'STORE': f'journal:{tmp_path / "store.log"}'}
  ended = bash(env, 'sweep_workers.sbatch', *SWEEP_FLAGS, *SWEEP, f'--run={tmp_path / "run"}')
  assert ended.returncode == 0, ended
  assert (tmp_path / 'run/results.csv').exists()
  ended = bash({k: v for k, v in env.items() if k != 'STORE'}, 'sweep_workers.sbatch', *SWEEP_FLAGS)
  assert ended.returncode != 0
  assert 'the address of the store' in ended.stderr


@pytest.mark.slow
def test_kubernetes_runs_workers_of_a_sweep(env, tmp_path):
  text = (LAUNCH / 'sweep_workers.yaml').read_text()
  folded = re.search(r'args:\n\s+- >-\n((?: {14}.*\n)+)', text)[1]
  command = ' '.join(folded.split())
  command = command.replace('.venv/bin/python', shlex.quote(sys.executable))
  command = command.replace('/shared/runs/mnist_k', str(tmp_path / 'run'))
  command = command.replace('--flagfile=experiments/presets/mnist.flags', shlex.join(SWEEP_FLAGS))
  command = command.replace('--sweep=k=0.5,1,2,5,auto --seeds=8', shlex.join(SWEEP))
  env |= {'STORE': f'journal:{tmp_path / "store.log"}'}
  ended = subprocess.run(
    ['bash', '-c', command], cwd=commands.ROOT, env=env, capture_output=True, text=True, timeout=180
  )
  assert ended.returncode == 0, ended
  assert (tmp_path / 'run/results.csv').exists()


@pytest.mark.parametrize('name', sorted(path.name for path in LAUNCH.iterdir()))
def test_presets_in_launch_files_exist(name):
  for preset in re.findall(r'experiments/presets/\w+\.flags', (LAUNCH / name).read_text()):
    assert (commands.ROOT / preset).exists()
