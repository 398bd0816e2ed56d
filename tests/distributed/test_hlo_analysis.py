"""What is counted in programs: by hand for products and loops, and in texts of known content."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from gan_jax.distributed import hlo_analysis


def flops(fn, *shapes, k=1.0):
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return hlo_analysis.count_flops(jax.make_jaxpr(fn)(*args).jaxpr, k)


def test_a_product_is_two_operations_per_pair():
  assert flops(lambda a, b: a @ b, (3, 4), (4, 5)) == 2 * 3 * 4 * 5
  assert flops(lambda a, b: jnp.einsum('bij,bjk->bik', a, b), (7, 3, 4), (7, 4, 5)) == 7 * 120


def test_a_gradient_costs_twice_the_pass():
  loss = lambda w, x: jnp.sum((x @ w) ** 2)
  assert flops(jax.grad(loss, (0, 1)), (4, 5), (3, 4)) == 3 * 120


def test_a_convolution_is_a_product_at_every_place():
  def fn(x, w):
    numbers = ('NHWC', 'HWIO', 'NHWC')
    return lax.conv_general_dilated(x, w, (2, 2), 'SAME', dimension_numbers=numbers)

  assert flops(fn, (2, 8, 8, 3), (3, 3, 3, 5)) == 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)


def test_loops_count_by_their_length_and_branches_by_the_dearest():
  square = lambda x: x @ x
  assert flops(lambda x: lax.fori_loop(0, 5, lambda _, x: square(x), x), (4, 4)) == 5 * 128
  assert flops(lambda x: lax.cond(x[0, 0] > 0, square, lambda x: x, x), (4, 4)) == 128

  def steps(x):
    step = lambda _, x: lax.fori_loop(0, jnp.int32(x[0, 0]), lambda _, x: square(x), square(x))
    return lax.fori_loop(0, jnp.int32(x[0, 0]), step, x)

  assert flops(steps, (4, 4), k=3.0) == (1 + 3) * 128


TEXT = """HloModule jit_fn, entry_computation_layout={...}

%sum (a: f32[], b: f32[]) -> f32[] {
  ROOT %add = f32[] add(%a, %b)
}

%inner_body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %all-reduce.1 = f32[8]{0} all-reduce(%x), channel_id=1, to_apply=%sum
}

%inner_condition (p: (s32[], f32[8])) -> pred[] {
  ROOT %lt = pred[] compare(%a, %b)
}

%step_body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %while.2 = (s32[], f32[8]{0}) while(%t), condition=%inner_condition, body=%inner_body
  %all-reduce.3 = (f32[4,5]{1,0:T(8,128)S(1)}, bf16[7]{0}) all-reduce(%y, %z), to_apply=%sum
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %while.1 = (s32[], f32[8]{0}) while(%t), condition=%step_condition, body=%step_body
  %all-gather.4 = f32[16]{0} all-gather(%p), dimensions={0}
}
"""


def test_collectives_are_counted_as_often_as_they_run():
  found = sorted(hlo_analysis.find_collectives(TEXT, k=3.0))
  assert found == [('all-gather', 64, 1.0), ('all-reduce', 32, 3.0), ('all-reduce', 94, 1.0)]
  known = TEXT.replace(
    'body=%inner_body', 'body=%inner_body, config={"known_trip_count":{"n":"5"}}'
  )
  assert ('all-reduce', 32, 5.0) in hlo_analysis.find_collectives(known, k=3.0)


@pytest.mark.parametrize(
  'line',
  [
    '%o = token[] outfeed(%x, %token)',
    '%c = f32[] custom-call(%x), custom_call_target="xla_ffi_python_cpu_callback"',
    '%s = (f32[], u32[], token[]) send(%x, %t), channel_id=3, is_host_transfer=true',
  ],
)
def test_talk_with_the_host_is_seen(line):
  assert hlo_analysis.find_host_transfers(TEXT) == []
  assert len(hlo_analysis.find_host_transfers(TEXT + f'  {line}\n')) == 1


def test_what_slices_tell_one_another_is_no_transfer_to_the_host():
  line = (
    '  %send.1 = (f32[8], u32[], token[]) send(%x, %t), channel_id=5, is_host_transfer=true, '
    'frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime"}'
  )
  assert hlo_analysis.find_host_transfers(TEXT + line + '\n') == []
