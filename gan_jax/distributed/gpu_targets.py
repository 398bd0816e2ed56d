"""Describes GPUs to XLA's compiler on a machine without one, by the figures of NVIDIA's data sheets."""

# major.minor of the compute capability, multiprocessors, shared memory of one, L2, GHz, bytes/s, memory
_FIGURES = {
  'a100': ((8, 0), 108, 167_936, 40 * 2**20, 1.41, 2.039e12, 80e9),
  'h100': ((9, 0), 132, 233_472, 50 * 2**20, 1.98, 3.352e12, 80e9),
}


def gpu_target_config(generation: str) -> str:
  """Returns the `GpuTargetConfigProto` of a GPU generation of `chip_specs`, as text for `target_config`."""
  (major, minor), cores, shared, cache, ghz, bandwidth, memory = _FIGURES[generation]
  figures = {
    'threads_per_block_limit': 1024,
    'threads_per_warp': 32,
    'threads_per_core_limit': 2048,
    'shared_memory_per_block': 49_152,
    'shared_memory_per_block_optin': shared - 1024,
    'shared_memory_per_core': shared,
    'registers_per_core_limit': 65_536,
    'registers_per_block_limit': 65_536,
    'core_count': cores,
    'fpus_per_core': 64 if major == 8 else 128,
    'block_dim_limit_x': 2**31 - 1,
    'block_dim_limit_y': 65_535,
    'block_dim_limit_z': 65_535,
    'memory_bandwidth': int(bandwidth),
    'l2_cache_size': cache,
    'clock_rate_ghz': ghz,
    'device_memory_size': int(memory),
  }
  lines = '\n'.join(f'  {name}: {value}' for name, value in figures.items())
  return (
    f'gpu_device_info {{\n  cuda_compute_capability {{ major: {major} minor: {minor} }}\n{lines}\n}}\n'
    'platform_name: "CUDA"\ndnn_version_info { major: 9 minor: 10 patch: 2 }\n'
    'runtime_version { major: 12 minor: 9 patch: 1 }\n'
    f'device_description_str: "{generation}"\n'
  )
